"""Templates of the messages that list all features of a model: explanations and recorded model inputs.

Names, groups and the baseline are the same in every message of a bundle. Nearly every message has the same source for
all features and, because a customer's stored values have one as-of time, also the same as-of time. A template contains
all of these fields, so only the customer's numbers must be set in a copy of it. This takes a quarter of the time.
"""

import datetime as dt
import math
from collections.abc import Mapping
from functools import lru_cache
from weakref import WeakKeyDictionary

from grounds.audit.v1 import audit_pb2
from grounds.explain.v1 import explain_pb2
from models.bundle import Bundle
from models.explained_score import ExplainedScore
from models.schema import Schema
from server.decisions.sourced_values import SourcedValue
from server.edges.explanations import VALUE_SOURCES, baseline_message, explanation_message, timestamp

_AS_OF_TIMES_MAX = 32  # number of as-of times for which a schema keeps templates
_STORE = VALUE_SOURCES["STORE"]


class _BundleTemplates:
    """The encoded templates of one bundle, by as-of time of the stored values."""

    def __init__(self, bundle: Bundle) -> None:
        self._features = [(feature.name, feature.group) for feature in bundle.schema.features]
        baseline = bundle.baseline
        self._constant = explanation_message(
            method=baseline.method,
            baseline=baseline_message(bundle.baseline_sha256, baseline.row_count, baseline.definition),
            base_value=0.0,
            residual=0.0,
            contributions=(),
        )
        self.explanation = lru_cache(_AS_OF_TIMES_MAX)(self._encode_explanation)
        self.inputs = lru_cache(_AS_OF_TIMES_MAX)(self._encode_inputs)

    def _encode_explanation(self, as_of: dt.datetime | None) -> bytes:
        """Return an Explanation with a contribution of every feature, as if all values came from the store."""
        stamp = None if as_of is None else timestamp(as_of)
        message = explain_pb2.Explanation()
        message.CopyFrom(self._constant)
        for name, group in self._features:
            message.contributions.add(feature=name, group=group, source=_STORE, as_of_time=stamp)
        return message.SerializeToString()

    def _encode_inputs(self, as_of: dt.datetime | None) -> bytes:
        """Return a DecisionRecord with every feature, as if all values came from the store."""
        stamp = None if as_of is None else timestamp(as_of)
        message = audit_pb2.DecisionRecord()
        for name, _ in self._features:
            message.features.add(feature=name, source=_STORE, as_of_time=stamp)
        return message.SerializeToString()


# The keys are the schemas, because a bundle contains dictionaries and therefore cannot be a key.
_TEMPLATES: WeakKeyDictionary[Schema, _BundleTemplates] = WeakKeyDictionary()


def fill_explanation(
    message: explain_pb2.Explanation, bundle: Bundle, score: ExplainedScore, inputs: Mapping[str, SourcedValue]
) -> None:
    """Fill the explanation of a score, with one contribution per feature.

    Base value, contributions and residual add up to the log-odds. Base points and points add up to the score.
    """
    as_of = _as_of(inputs)
    message.MergeFromString(_templates(bundle).explanation(as_of))
    message.base_value, message.base_points, message.residual = score.base_value, score.base_points, score.residual
    numbers = zip(message.contributions, bundle.schema.names, score.contributions, score.points, strict=True)
    for contribution, name, log_odds, points in numbers:
        contribution.log_odds = log_odds
        contribution.points = points
        _set_value(contribution, inputs.get(name), as_of)


def recorded_inputs(bundle: Bundle, inputs: Mapping[str, SourcedValue]) -> audit_pb2.DecisionRecord:
    """Build a record with one message per feature: its value, if known, and the model's input (NaN if unknown)."""
    as_of = _as_of(inputs)
    record = audit_pb2.DecisionRecord.FromString(_templates(bundle).inputs(as_of))
    schema = bundle.schema
    for message, name in zip(record.features, schema.names, strict=True):
        given = inputs.get(name)
        message.number = math.nan if given is None else schema.encode_value(name, given.value)
        _set_value(message, given, as_of)
    return record


def _set_value(
    message: explain_pb2.Contribution | audit_pb2.FedFeature, given: SourcedValue | None, as_of: dt.datetime | None
) -> None:
    """Set the value of a feature in a message that was copied from the template of `as_of`."""
    if given is None:
        message.ClearField("source")
        message.ClearField("as_of_time")
        return
    value = message.value
    if isinstance(given.value, str):
        value.level = given.value
    else:
        value.number = given.value
    if given.source != "STORE":
        message.source = VALUE_SOURCES[given.source]
    if given.as_of != as_of:
        message.ClearField("as_of_time")
        if given.as_of is not None:
            message.as_of_time.CopyFrom(timestamp(given.as_of))


def _as_of(inputs: Mapping[str, SourcedValue]) -> dt.datetime | None:
    """Return the as-of time of the first stored value; None if no value comes from the store."""
    return next((given.as_of for given in inputs.values() if given.as_of is not None), None)


def _templates(bundle: Bundle) -> _BundleTemplates:
    """Return the templates of a bundle, which are created at their first use."""
    templates = _TEMPLATES.get(bundle.schema)
    if templates is None:
        templates = _TEMPLATES[bundle.schema] = _BundleTemplates(bundle)
    return templates
