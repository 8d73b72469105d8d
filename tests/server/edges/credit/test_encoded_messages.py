"""Explanations and recorded inputs that start from templates equal messages that are built field by field."""

import datetime as dt
from collections.abc import Mapping

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from models.bundle import Bundle
from models.explained_score import ExplainedScore
from server.decisions.sourced_values import SourcedValue
from server.edges.credit.messages import score_response
from server.edges.credit.templates import fill_explanation, recorded_inputs
from tests.small import SmallFamily

VALUES: list[float | str] = [0.0, -0.0, 1.5, 1e300, "a level", "Straße"]
TIMES = [dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, tzinfo=dt.UTC)]


def stamp(time: dt.datetime) -> Timestamp:
    """Return a timestamp as protobuf itself converts it."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def some_inputs(bundle: Bundle, choice: np.random.Generator) -> dict[str, SourcedValue]:
    """Return random inputs: missing, stored or from the caller; numbers or levels; one or several as-of times."""
    inputs = {}
    for name in bundle.schema.names:
        value = VALUES[choice.integers(len(VALUES))]
        as_of = TIMES[0] if choice.random() < 0.8 else TIMES[1]
        kind = ("missing", "store", "store", "caller")[choice.integers(4)]
        if kind != "missing":
            inputs[name] = (
                SourcedValue(value, "STORE", as_of) if kind == "store" else SourcedValue(value, "CALLER", None)
            )
    return inputs


def some_score(bundle: Bundle, choice: np.random.Generator) -> ExplainedScore:
    """Return a score with random contributions and points."""
    count = len(bundle.schema.names)
    parts = tuple(float(choice.uniform(-3, 3) * choice.integers(2)) for _ in range(count))
    points = tuple(int((0, -1, 130, choice.integers(-60, 60))[choice.integers(4)]) for _ in range(count))
    return ExplainedScore(0.1, 0.2, 0.3, 600, "A", float(choice.uniform(-3, 3)), parts, 560, points, 1e-16)


def plain_explanation(
    bundle: Bundle, score: ExplainedScore, inputs: Mapping[str, SourcedValue]
) -> explain_pb2.Explanation:
    """Return the explanation, built field by field."""
    message = explain_pb2.Explanation(
        method=f"METHOD_{bundle.baseline.method.upper()}_TREE_SHAP",
        baseline=explain_pb2.Baseline(
            baseline_id=bundle.baseline_sha256[:16],
            sha256=bundle.baseline_sha256,
            row_count=bundle.baseline.row_count,
            definition=bundle.baseline.definition,
        ),
        base_value=score.base_value,
        base_points=score.base_points,
        residual=score.residual,
    )
    for feature, log_odds, points in zip(bundle.schema.features, score.contributions, score.points, strict=True):
        part = message.contributions.add(feature=feature.name, group=feature.group, log_odds=log_odds, points=points)
        set_given(part, inputs.get(feature.name))
    return message


def set_given(part: explain_pb2.Contribution | audit_pb2.FedFeature, given: SourcedValue | None) -> None:
    """Set value, source and as-of time of a feature."""
    if given is None:
        return
    if isinstance(given.value, str):
        part.value.level = given.value
    else:
        part.value.number = given.value
    part.source = explain_pb2.ValueSource.Value(f"VALUE_SOURCE_{given.source}")  # type: ignore[assignment]
    if given.as_of is not None:
        part.as_of_time.CopyFrom(stamp(given.as_of))


@pytest.mark.parametrize("seed", range(40))
def test_messages_from_templates_equal_messages_built_field_by_field(small: SmallFamily, seed: int) -> None:
    bundle, choice = small.bundle(), np.random.default_rng(seed)
    for _ in range(5):  # the later messages use the templates that the first one created
        inputs, score = some_inputs(bundle, choice), some_score(bundle, choice)
        expected_record = audit_pb2.DecisionRecord()
        for feature in bundle.schema.features:
            given = inputs.get(feature.name)
            number = float("nan") if given is None else bundle.schema.encode_value(feature.name, given.value)
            set_given(expected_record.features.add(feature=feature.name, number=number), given)
        explanation = explain_pb2.Explanation()

        fill_explanation(explanation, bundle, score, inputs)
        record = recorded_inputs(bundle, inputs)

        expected = plain_explanation(bundle, score, inputs)
        assert explanation.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
        assert record.SerializeToString(deterministic=True) == expected_record.SerializeToString(deterministic=True)


@pytest.mark.parametrize("text_length", [0, 1, 100, 124, 125, 126, 127, 128, 129, 5000, 16380, 16384, 300_000])
def test_an_encoded_answer_has_the_bytes_that_protobuf_writes(text_length: int) -> None:
    decision = credit_pb2.CreditDecision(expire_time=stamp(TIMES[0]))
    decision.record_ref.decision_id = "x" * text_length
    expected = credit_pb2.ScoreCreditResponse(credit_decision=decision).SerializeToString()

    assert score_response(decision.SerializeToString()) == expected
