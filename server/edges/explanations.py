"""The explanation as every service sends it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.explain.v1 import explain_pb2 as pb

_BASELINE_ID_DIGITS = 16
VALUE_SOURCES = {"STORE": pb.VALUE_SOURCE_STORE, "CALLER": pb.VALUE_SOURCE_CALLER}


@dataclass(frozen=True, slots=True)
class ContributionFacts:
    """One feature's line: value None where missing, points None where the family has none."""

    feature: str
    group: str
    value: float | str | None
    source: Literal["STORE", "CALLER"] | None
    as_of: dt.datetime | None
    log_odds: float
    points: int | None


def contribution_message(facts: ContributionFacts) -> pb.Contribution:
    """Write one line."""
    line = pb.Contribution(feature=facts.feature, group=facts.group, log_odds=facts.log_odds, points=facts.points)
    if isinstance(facts.value, str):
        line.value.level = facts.value
    elif facts.value is not None:
        line.value.number = facts.value
    if facts.source is not None:
        line.source = VALUE_SOURCES[facts.source]
    if facts.as_of is not None and facts.value is not None:
        line.as_of_time.CopyFrom(timestamp(facts.as_of))
    return line


def explanation_message(
    method: str,
    baseline: pb.Baseline,
    base_value: float,
    residual: float,
    lines: Sequence[pb.Contribution],
    base_points: int | None = None,
) -> pb.Explanation:
    """Put an explanation together."""
    return pb.Explanation(
        method=f"METHOD_{method.upper()}_TREE_SHAP",
        baseline=baseline,
        base_value=base_value,
        base_points=base_points,
        contributions=lines,
        residual=residual,
    )


def baseline_message(sha256: str, row_count: int, definition: str) -> pb.Baseline:
    """Name a baseline."""
    return pb.Baseline(
        baseline_id=sha256[:_BASELINE_ID_DIGITS], sha256=sha256, row_count=row_count, definition=definition
    )


def timestamp(time: dt.datetime) -> Timestamp:
    """Write a time."""
    stamp = Timestamp()
    stamp.FromDatetime(time.astimezone(dt.UTC))
    return stamp


def feature_values(features: Mapping[str, pb.FeatureValue]) -> dict[str, float | str]:
    """Read a caller's values: a number, or the name of a level."""
    return {
        name: value.number if value.WhichOneof("kind") == "number" else value.level for name, value in features.items()
    }
