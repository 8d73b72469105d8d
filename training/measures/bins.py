"""Bins of a feature, which are fixed on the development sample.

The last bin is for missing values. For a category feature, the second to last bin is for categories that do not occur
in the development sample.
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
        edges: The edges between the bins, finite and strictly ascending; may be empty. A value equal to an edge belongs
            to the bin below the edge.
    """

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the edges.

        Raises:
            DataInvalid: An edge is not finite, or the edges do not ascend strictly.
        """
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0.0).any():
            raise DataInvalid(f"bin edges must be finite and strictly ascending, got {self.edges}; correct them")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every bin in the order of its code; the last is for missing values."""
        ends = ["-inf", *(f"{edge:.6g}" for edge in self.edges), "inf"]
        spans = [f"({low}, {high}]" for low, high in pairwise(ends)]
        return (*spans[:-1], spans[-1].replace("]", ")"), _MISSING)

    def codes(self, values: Values) -> NDArray[np.int64]:
        """Return the bin of every value: shape (n,), 0 and up.

        NaN counts as missing. Infinite values belong to the first and to the last bin of present values.
        """
        positions = np.searchsorted(np.asarray(self.edges, dtype=np.float64), values, side="left")
        return np.where(np.isnan(values), len(self.edges) + 1, positions).astype(np.int64)


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Bins of categories: one bin per level, then one bin for all other levels, and then one bin for missing values.

    Attributes:
        levels: The distinct levels, as names or as codes.
    """

    levels: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        """Check the levels.

        Raises:
            DataInvalid: A level occurs twice.
        """
        if len(set(self.levels)) != len(self.levels):
            raise DataInvalid(f"levels must be distinct, got {self.levels}; remove the duplicates")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every bin in the order of its code; the last is for missing values."""
        return (*(str(level) for level in self.levels), _OTHER, _MISSING)

    def codes(self, values: Iterable[Hashable]) -> NDArray[np.int64]:
        """Return the bin of every value: shape (n,), 0 and up. None and NaN count as missing."""
        code_by_level = {level: code for code, level in enumerate(self.levels)}
        other, missing = len(self.levels), len(self.levels) + 1
        codes = [missing if value is None or value != value else code_by_level.get(value, other) for value in values]  # noqa: PLR0124 - NaN
        return np.array(codes, dtype=np.int64)


Bins = NumberBins | CategoryBins


def quantile_bins(values: Values, bins: int = 10) -> NumberBins:
    """Return about `bins` bins with equally many rows each; equal values share a bin, so there can be fewer.

    Args:
        values: Shape (n,), values of the development sample; NaN counts as missing and does not affect the edges.
        bins: Number of bins, at least 2.

    Raises:
        DataInvalid: No value is present, or `bins` is below 2.
    """
    present = np.sort(values[np.isfinite(values)])
    if bins < 2 or not len(present):  # noqa: PLR2004 - one bin separates nothing
        raise DataInvalid(
            f"binning requires at least 2 bins and 1 present value, got {bins} bins and {len(present)} values; add rows, or remove the feature"
        )
    # Edges are values that occur in the sample, not points between two of them, so a later row with the same value falls
    # into the same bin.
    edges = np.unique(np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf"))
    return NumberBins(tuple(edges[edges < present[-1]].tolist()))


def level_bins(values: Iterable[Hashable]) -> CategoryBins:
    """Return one bin for each level that occurs, in the order of first appearance; None and NaN count as missing."""
    return CategoryBins(tuple(dict.fromkeys(v for v in values if v is not None and v == v)))  # noqa: PLR0124 - NaN
