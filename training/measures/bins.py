"""Bins of a feature, fixed at development.

Missing values have a bin of their own, always the last; a category that development did not have belongs to the bin
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
        """Check the edges.

        Raises:
            DataInvalid: An edge is not finite, or the edges do not ascend strictly.
        """
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0.0).any():
            raise DataInvalid(f"bin edges must be finite and strictly ascending, got {self.edges}")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every bin in the order of its code; the last is for missing values."""
        ends = ["-inf", *(f"{edge:.6g}" for edge in self.edges), "inf"]
        spans = [f"({low}, {high}]" for low, high in pairwise(ends)]
        return (*spans[:-1], spans[-1].replace("]", ")"), _MISSING)

    def codes(self, values: Values) -> NDArray[np.int64]:
        """Return the bin of every value: shape (n,), 0 and up. NaN is missing; infinite values belong to the end bins."""
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
        """Check the levels.

        Raises:
            DataInvalid: A level is duplicate.
        """
        if len(set(self.levels)) != len(self.levels):
            raise DataInvalid(f"levels must be distinct, got {self.levels}")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every bin in the order of its code; the last is for missing values."""
        return (*(str(level) for level in self.levels), _OTHER, _MISSING)

    def codes(self, values: Iterable[Hashable]) -> NDArray[np.int64]:
        """Return the bin of every value, 0 and up: shape (n,). None and NaN are missing."""
        places = {level: code for code, level in enumerate(self.levels)}
        other, missing = len(self.levels), len(self.levels) + 1
        codes = [missing if value is None or value != value else places.get(value, other) for value in values]  # noqa: PLR0124 - NaN
        return np.array(codes, dtype=np.int64)


Bins = NumberBins | CategoryBins


def quantile_bins(values: Values, bins: int = 10) -> NumberBins:
    """Return about `bins` bins of equal mass; equal values share a bin, so fewer may result.

    Args:
        values: Shape (n,), of the development sample; NaN is missing and does not affect the edges.
        bins: At least 2.

    Raises:
        DataInvalid: No value is present, or `bins` is below 2.
    """
    present = np.sort(values[np.isfinite(values)])
    if bins < 2 or not len(present):  # noqa: PLR2004 - one bin divides nothing
        raise DataInvalid(
            f"binning requires at least 2 bins and 1 present value, got {bins} bins and {len(present)} values"
        )
    # Edges are values that occur rather than points between two, so later rows with such a value fall on the same side.
    edges = np.unique(np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf"))
    return NumberBins(tuple(edges[edges < present[-1]].tolist()))


def level_bins(values: Iterable[Hashable]) -> CategoryBins:
    """Return one bin for each level that occurs, in the order of first appearance; None and NaN are missing."""
    return CategoryBins(tuple(dict.fromkeys(v for v in values if v is not None and v == v)))  # noqa: PLR0124 - NaN
