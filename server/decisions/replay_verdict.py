"""Compares recorded fields with recomputed fields, and returns the verdict of the replay.

The runtime consists of ONNX Runtime, Python and the platform. If the present runtime is the recorded runtime, every
recomputed field must equal the recorded field bit for bit. A different runtime may add the same numbers in a different
order. In that case a pd may differ by up to `PD_TOLERANCE` and any other double by up to `LOG_ODDS_TOLERANCE`, but
points, grade, outcome and reasons must be equal. A field *differs* if it is not equal bit for bit. A differing field is
a *mismatch* if the runtime is the same, or if the difference exceeds the tolerance. A later release of Grounds does not count as a different runtime, because it must return the same
answer.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE

Scalar = float | int | str | bool
_UNSET = 0.0  # protobuf's default for a number that is not set
_PD = "pd"  # last part of the path of every probability


@dataclass(frozen=True, slots=True)
class ReplayMatch:
    """Every recomputed field equals the recorded field bit for bit.

    Attributes:
        compared: Number of compared fields.
    """

    compared: int


@dataclass(frozen=True, slots=True)
class ReplayMismatch:
    """At least one field is a mismatch.

    Attributes:
        field: Path of the first mismatch.
        stored: Recorded value of this field; "" if the record lacks the field.
        recomputed: Recomputed value of this field; "" if the recomputed answer lacks the field.
        differing: Number of mismatches. Fields that differ within the tolerance are not counted.
    """

    field: str
    stored: str
    recomputed: str
    differing: int


@dataclass(frozen=True, slots=True)
class ReplayRuntimeDiffers:
    """The runtime differs from the recorded runtime, and no field differs by more than the tolerance.

    Attributes:
        pd_distance: Largest difference between a recorded pd and its recomputed pd; 0 if every pd is equal.
        differing: Number of fields that are not equal bit for bit.
        compared: Number of compared fields.
    """

    pd_distance: float
    differing: int
    compared: int


ReplayVerdict = ReplayMatch | ReplayMismatch | ReplayRuntimeDiffers


def compare_fields(
    stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar], *, same_runtime: bool
) -> ReplayVerdict:
    """Return the verdict on recorded and recomputed fields.

    Args:
        stored: Recorded values by path; not empty.
        recomputed: Recomputed values by path.
        same_runtime: Whether the present runtime equals the recorded runtime. If true, every difference is a mismatch.
    """
    assert stored, "a replay that compares nothing proves nothing"
    # Compare the paths of both sides, recorded paths first. A field that only one side has is a differing field.
    paths = dict.fromkeys((*stored, *recomputed))
    differing = [path for path in paths if not _equal(stored.get(path), recomputed.get(path))]
    beyond = differing if same_runtime else [path for path in differing if not _is_close(path, stored, recomputed)]
    if beyond:
        first = beyond[0]
        return ReplayMismatch(first, _text(stored.get(first)), _text(recomputed.get(first)), len(beyond))
    if same_runtime:
        return ReplayMatch(len(paths))
    pd_distances = (
        _distance(stored.get(path, _UNSET), recomputed.get(path, _UNSET)) for path in differing if _is_pd(path)
    )
    return ReplayRuntimeDiffers(
        pd_distance=max(pd_distances, default=0.0), differing=len(differing), compared=len(paths)
    )


def _equal(one: Scalar | None, other: Scalar | None) -> bool:
    """Return whether two values have the same type and are equal; two doubles are equal if all their bits are equal."""
    if isinstance(one, float) and isinstance(other, float):
        # Compare the bits: == treats -0.0 and 0.0 as equal, and NaN as unequal to itself.
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and one == other


def _is_close(path: str, stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar]) -> bool:
    """Return whether the two values of a path differ by no more than the tolerance between runtimes."""
    # Protobuf omits a number that is 0. So if one side lacks a path, its value is 0, which may be close to the value of
    # the other side.
    tolerance = PD_TOLERANCE if _is_pd(path) else LOG_ODDS_TOLERANCE
    return _distance(stored.get(path, _UNSET), recomputed.get(path, _UNSET)) <= tolerance


def _distance(one: Scalar, other: Scalar) -> float:
    """Return the absolute difference of two doubles; infinity if a value is NaN or not a double."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return math.inf
    distance = abs(one - other)
    return math.inf if math.isnan(distance) else distance


def _is_pd(path: str) -> bool:
    """Return whether a path belongs to a probability."""
    return path.rpartition(".")[2] == _PD


def _text(value: Scalar | None) -> str:
    """Return a value as text; "" if it is missing.

    The text of a double has all digits that distinguish it from others.
    """
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
