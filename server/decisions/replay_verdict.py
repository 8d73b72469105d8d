"""The verdict of a replay: compares recorded fields with recomputed ones.

On the runtime that decided, every field must be equal to the bit. Another runtime may add the same numbers in another
order: then a pd may differ by `PD_TOLERANCE` and any other number by `LOG_ODDS_TOLERANCE`, but points, grade, outcome and
reasons must still be equal. A later release of Grounds is not another runtime: it has to give the same answer.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE

Scalar = float | int | str | bool
_UNSET = 0.0  # protobuf's value of a number that is not set
_PD = "pd"  # last part of the path of every probability of default


@dataclass(frozen=True, slots=True)
class ReplayMatch:
    """Every field is equal to the bit.

    Attributes:
        compared: Number of fields.
    """

    compared: int


@dataclass(frozen=True, slots=True)
class ReplayMismatch:
    """Some field differs by more than the tolerance.

    Attributes:
        field: Path of the first one.
        stored: Its recorded value; "" if it was not recorded.
        recomputed: Its recomputed value; "" if there is none.
        differing: Number of fields that differ by more than the tolerance.
    """

    field: str
    stored: str
    recomputed: str
    differing: int


@dataclass(frozen=True, slots=True)
class ReplayRuntimeDiffers:
    """Another runtime than the recorded one gave the same answer within the tolerance.

    Attributes:
        pd_distance: Largest difference of a pd.
        differing: Number of fields that are not equal to the bit.
        compared: Number of fields.
    """

    pd_distance: float
    differing: int
    compared: int


ReplayVerdict = ReplayMatch | ReplayMismatch | ReplayRuntimeDiffers


def compare_fields(
    stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar], *, same_runtime: bool
) -> ReplayVerdict:
    """Return the verdict on two sets of fields.

    Args:
        stored: Recorded values by path; at least one.
        recomputed: Recomputed values by path.
        same_runtime: Whether this runtime is the recorded one; then there is no tolerance.
    """
    assert stored, "a replay that compares nothing proves nothing"
    # Paths of both sides, recorded ones first: a field that only one side has is a difference too.
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
    """Return whether two values are equal, and of the same type."""
    if isinstance(one, float) and isinstance(other, float):
        # By their bits, because == calls -0.0 and 0.0 equal, and NaN unequal to itself.
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and one == other


def _is_close(path: str, stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar]) -> bool:
    """Return whether two values differ by no more than two runtimes may."""
    # Protobuf does not send a number that is 0, so a path that one side lacks may stand for a tiny number on the other.
    tolerance = PD_TOLERANCE if _is_pd(path) else LOG_ODDS_TOLERANCE
    return _distance(stored.get(path, _UNSET), recomputed.get(path, _UNSET)) <= tolerance


def _distance(one: Scalar, other: Scalar) -> float:
    """Return the distance of two doubles; infinity if one is NaN or not a double, so that it is never close."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return math.inf
    distance = abs(one - other)
    return math.inf if math.isnan(distance) else distance


def _is_pd(path: str) -> bool:
    """Return whether a path leads to a probability of default."""
    return path.rpartition(".")[2] == _PD


def _text(value: Scalar | None) -> str:
    """Return a value as text; a double with all its digits, so that it differs from its neighbours."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
