"""Where a feature is cut into bins: fixed once, at development, and the same ever after.

Missing values have a bin of their own, always the last; a category that development did not have goes to the one
before it.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid

Values = NDArray[np.float64]
_MISSING = "missing"
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class NumberBins:
    """Bins of numbers: (-inf, first edge], ..., (last edge, inf), missing.

    Attributes:
        edges: Finite, strictly ascending; may be empty. A value on an edge belongs to the bin below it.
    """

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse edges that are no edges.

        Raises:
            DataInvalid: Not finite, or not strictly ascending.
        """
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0.0).any():
            raise DataInvalid(f"bin edges must be finite and strictly ascending: {self.edges}")

    @property
    def names(self) -> tuple[str, ...]:
        """Name every bin in the order of its code; the last is for missing values."""
        ends = ["-inf", *(f"{edge:.6g}" for edge in self.edges), "inf"]
        spans = [f"({low}, {high}]" for low, high in pairwise(ends)]
        return (*spans[:-1], spans[-1].replace("]", ")"), _MISSING)

    def codes(self, values: Values) -> NDArray[np.int64]:
        """Give the bin of every value, 0 and up: shape (n,). NaN is missing; infinite values are in the end bins."""
        places = np.searchsorted(np.asarray(self.edges, dtype=np.float64), values, side="left")
        return np.where(np.isnan(values), len(self.edges) + 1, places).astype(np.int64)


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Bins of categories: one for each level, then all other levels, then missing.

    Attributes:
        levels: Distinct; names or codes.
    """

    levels: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        """Refuse levels that are there twice.

        Raises:
            DataInvalid: A level is listed twice.
        """
        if len(set(self.levels)) != len(self.levels):
            raise DataInvalid(f"a level is listed twice: {self.levels}")

    @property
    def names(self) -> tuple[str, ...]:
        """Name every bin in the order of its code; the last is for missing values."""
        return (*(str(level) for level in self.levels), _OTHER, _MISSING)

    def codes(self, values: Iterable[Hashable]) -> NDArray[np.int64]:
        """Give the bin of every value, 0 and up: shape (n,). None and NaN are missing."""
        places = {level: code for code, level in enumerate(self.levels)}
        other, missing = len(self.levels), len(self.levels) + 1
        found = [missing if value is None or value != value else places.get(value, other) for value in values]  # noqa: PLR0124 - NaN
        return np.array(found, dtype=np.int64)


Bins = NumberBins | CategoryBins


def quantile_bins(values: Values, bins: int = 10) -> NumberBins:
    """Cut the present values into about so many bins of equal mass; equal values stay together, so fewer may result.

    Args:
        values: Shape (n,), of the development sample; NaN is missing and does not move the edges.
        bins: At least 2.

    Raises:
        DataInvalid: No value is present, or fewer than two bins are asked for.
    """
    present = np.sort(values[np.isfinite(values)])
    if bins < 2 or not len(present):  # noqa: PLR2004 - one bin divides nothing
        raise DataInvalid(f"{bins} bins of {len(present)} present values; at least 2 bins and one value")
    # An edge is a value that occurs, not a point between two, so that the same rows fall on the same side again.
    edges = np.unique(np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf"))
    return NumberBins(tuple(edges[edges < present[-1]].tolist()))


def level_bins(values: Iterable[Hashable]) -> CategoryBins:
    """Give every level that occurs a bin, in the order of first appearance; None and NaN are missing."""
    return CategoryBins(tuple(dict.fromkeys(v for v in values if v is not None and v == v)))  # noqa: PLR0124 - NaN
