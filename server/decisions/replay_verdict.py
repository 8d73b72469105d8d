"""The verdict of a replay: what was recorded against what comes out now, field by field.

On the runtime that decided, everything must be equal to the bit. On another one sums may be added in another order: then a
pd may differ by 1e-12 and any other number by 1e-9, and points, grade, outcome and reasons must be equal. A later release of
Grounds is no other runtime: it has to give the same.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE

Scalar = float | int | str | bool
_UNSET = 0.0  # what a number is that is not set
_PD = "pd"  # the last part of the path of every probability of default


@dataclass(frozen=True, slots=True)
class ReplayMatch:
    """Everything is equal, to the bit, on the runtime that decided."""

    compared: int


@dataclass(frozen=True, slots=True)
class ReplayMismatch:
    """Something is not what was recorded.

    Attributes:
        field: Path of the first one that differs beyond what is allowed.
        stored: What was recorded; "" where nothing was.
        recomputed: What came out; "" where nothing did.
        differing: Fields that differ beyond what is allowed.
    """

    field: str
    stored: str
    recomputed: str
    differing: int


@dataclass(frozen=True, slots=True)
class ReplayRuntimeDiffers:
    """Another runtime than the one that decided gives the same within the tolerance.

    Attributes:
        pd_distance: Largest distance of a pd.
        differing: Numbers that are not equal to the bit.
    """

    pd_distance: float
    differing: int
    compared: int


ReplayVerdict = ReplayMatch | ReplayMismatch | ReplayRuntimeDiffers


def compare_fields(
    stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar], *, same_runtime: bool
) -> ReplayVerdict:
    """Compare.

    Args:
        stored: What was recorded, by path; at least one field.
        recomputed: What came out now, by path.
        same_runtime: Whether what computes now is what computed then.
    """
    paths = dict.fromkeys((*stored, *recomputed))
    assert stored, "a replay that compares nothing proves nothing"
    differing = [path for path in paths if not _equal(stored.get(path), recomputed.get(path))]
    beyond = (
        differing if same_runtime else [path for path in differing if not _within_tolerance(path, stored, recomputed)]
    )
    if beyond:
        first = beyond[0]
        return ReplayMismatch(first, _text(stored.get(first)), _text(recomputed.get(first)), len(beyond))
    if same_runtime:
        return ReplayMatch(len(paths))
    return ReplayRuntimeDiffers(
        pd_distance=max(
            (_distance(stored.get(path, _UNSET), recomputed.get(path, _UNSET)) for path in differing if _is_pd(path)),
            default=0.0,
        ),
        differing=len(differing),
        compared=len(paths),
    )


def _equal(one: Scalar | None, other: Scalar | None) -> bool:
    """Tell whether two values are equal, doubles by their bits: -0.0 is not 0.0, NaN is NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and one == other


def _within_tolerance(path: str, stored: Mapping[str, Scalar], recomputed: Mapping[str, Scalar]) -> bool:
    """Tell whether two numbers may come from two runtimes."""
    return _distance(stored.get(path, _UNSET), recomputed.get(path, _UNSET)) <= (
        PD_TOLERANCE if _is_pd(path) else LOG_ODDS_TOLERANCE
    )


def _distance(one: Scalar, other: Scalar) -> float:
    """Give the distance of two doubles; infinity where one is none."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return math.inf
    found = abs(one - other)
    return math.inf if math.isnan(found) else found


def _is_pd(path: str) -> bool:
    """Tell whether a path leads to a probability of default."""
    return path.rpartition(".")[2] == _PD


def _text(value: Scalar | None) -> str:
    """Write a value so that every double can be told from its neighbours."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
