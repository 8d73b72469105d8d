"""Builds and reads the protobuf messages that several services share: explanations, times and feature values."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.explain.v1 import explain_pb2 as pb

_BASELINE_ID_DIGITS = 16
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
VALUE_SOURCES = {"STORE": pb.VALUE_SOURCE_STORE, "CALLER": pb.VALUE_SOURCE_CALLER}


@dataclass(frozen=True, slots=True)
class ContributionFacts:
    """The contribution of one feature to a score, with the feature's value and the value's source.

    Attributes:
        feature: The name of the feature.
        group: The code of the feature's reason group.
        value: The value, a number or the name of a level; None if the value is missing.
        source: The source of the value; None if the value is missing.
        as_of: The as-of time of a stored value; None for a caller's value. Not used if the value is missing.
        log_odds: The contribution to the log-odds (SHAP value).
        points: The contribution to the score, in points; None if the family has no points.
    """

    feature: str
    group: str
    value: float | str | None
    source: Literal["STORE", "CALLER"] | None
    as_of: dt.datetime | None
    log_odds: float
    points: int | None


def contribution_message(facts: ContributionFacts) -> pb.Contribution:
    """Build the message of a contribution."""
    message = pb.Contribution(feature=facts.feature, group=facts.group, log_odds=facts.log_odds, points=facts.points)
    if isinstance(facts.value, str):
        message.value.level = facts.value
    elif facts.value is not None:
        message.value.number = facts.value
    if facts.source is not None:
        message.source = VALUE_SOURCES[facts.source]
    if facts.as_of is not None and facts.value is not None:
        message.as_of_time.CopyFrom(timestamp(facts.as_of))
    return message


def explanation_message(
    method: str,
    baseline: pb.Baseline,
    base_value: float,
    residual: float,
    contributions: Sequence[pb.Contribution],
    base_points: int | None = None,
) -> pb.Explanation:
    """Build the message of an explanation.

    Args:
        method: The SHAP method of the bundle's baseline: interventional or path_dependent.
        baseline: The baseline, which is the population with which the explanation compares the customer.
        base_value: The mean log-odds of the baseline.
        residual: The log-odds of the score minus the sum of base value and contributions.
        contributions: One contribution per feature.
        base_points: The base value in points; None if the family has no points.
    """
    return pb.Explanation(
        method=f"METHOD_{method.upper()}_TREE_SHAP",
        baseline=baseline,
        base_value=base_value,
        base_points=base_points,
        contributions=contributions,
        residual=residual,
    )


def baseline_message(sha256: str, row_count: int, definition: str) -> pb.Baseline:
    """Build the message that identifies a baseline."""
    return pb.Baseline(
        baseline_id=sha256[:_BASELINE_ID_DIGITS], sha256=sha256, row_count=row_count, definition=definition
    )


def timestamp(time: dt.datetime) -> Timestamp:
    """Return a time as a protobuf timestamp."""
    microseconds = (time - _EPOCH) // _MICROSECOND
    # `Timestamp.FromDatetime` is written in Python and takes ten times as long.
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def time_from_timestamp(stamp: Timestamp) -> dt.datetime:
    """Return a protobuf timestamp as a time in UTC."""
    return stamp.ToDatetime(tzinfo=dt.UTC)


def feature_value(value: pb.FeatureValue) -> float | str:
    """Return the value of a feature: a number, or the name of a level."""
    return value.level if value.WhichOneof("kind") == "level" else value.number


def feature_values(features: Mapping[str, pb.FeatureValue]) -> dict[str, float | str]:
    """Return the values of features by feature name; each is a number, or the name of a level."""
    return {name: feature_value(value) for name, value in features.items()}
