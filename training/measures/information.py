"""Predictive power of one feature: weight of evidence and information value.

The weight of evidence of a bin is WOE = ln(share of all goods / share of all bads). A bin with a WOE above 0 is safer than
average. (Some libraries use the opposite sign.) If a bin has no goods or no bads, 0.5 is added to both of its counts, as in
SAS HPBIN, so that the logarithm is defined. Missing values have their own bin.

Source: Siddiqi 2006, Credit risk scorecards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.bins import Bins
from training.measures.inputs import Labels, check_both_outcomes, check_matching

_ZERO_CELL_ROWS = 0.5
_LEAK_IV = 0.5


@dataclass(frozen=True, slots=True)
class BinEvidence:
    """One bin of a feature.

    Attributes:
        bin: Name of the bin.
        rows: Number of rows in the bin.
        goods: Number of good rows in the bin.
        bads: Number of bad rows in the bin.
        woe: Weight of evidence; 0 for an empty bin.
        iv: Contribution of the bin to the information value: (share of goods - share of bads) * woe; 0 and up.
    """

    bin: str
    rows: int
    goods: int
    bads: int
    woe: float
    iv: float


@dataclass(frozen=True, slots=True)
class InformationValue:
    """The information value of a feature, with the weight of evidence of every bin.

    Attributes:
        bins: The bins in the order of their codes.
        iv: Information value. Below 0.02 the feature is useless, below 0.1 weak, below 0.3 medium, and up to 0.5 strong.
            A value above 0.5 is suspicious.
    """

    bins: tuple[BinEvidence, ...]
    iv: float

    @property
    def leak_suspected(self) -> bool:
        """Return whether the IV is above 0.5, which suggests that the feature contains the outcome."""
        return self.iv > _LEAK_IV


def information_value(codes: NDArray[np.int64], labels: Labels, bins: Bins) -> InformationValue:
    """Measure one feature.

    Args:
        codes: Shape (n,), the bin of every row, from `bins.codes(values)`.
        labels: Shape (n,); both outcomes occur.
        bins: The bins of the feature.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    check_matching(labels, codes.astype(np.float64))
    check_both_outcomes(labels)
    goods = np.bincount(codes[labels == 0], minlength=len(bins.names))
    bads = np.bincount(codes[labels == 1], minlength=len(bins.names))
    woes = weights_of_evidence(goods, bads)
    good_shares, bad_shares = _bin_shares(goods, bads)
    values = np.where(goods + bads > 0, (good_shares - bad_shares) * woes, 0.0)
    cells = zip(bins.names, goods.tolist(), bads.tolist(), woes.tolist(), values.tolist(), strict=True)
    table = tuple(BinEvidence(name, good + bad, good, bad, woe, iv) for name, good, bad, woe, iv in cells)
    return InformationValue(table, float(values.sum()))


def weights_of_evidence(goods: NDArray[np.int64], bads: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weight of evidence of every bin: shape (bins,); 0 for an empty bin.

    Args:
        goods: Shape (bins,), number of good rows of every bin.
        bads: Shape (bins,), number of bad rows of every bin.

    Raises:
        DataInvalid: The shapes differ, or there is no good row or no bad row at all.
    """
    if np.shape(goods) != np.shape(bads) or not np.sum(goods) or not np.sum(bads):
        raise DataInvalid(
            "weights of evidence require at least one good and one bad row, counted over the same bins; add rows with the other outcome"
        )
    good_shares, bad_shares = _bin_shares(goods, bads)
    return np.log(good_shares / bad_shares) * (goods + bads > 0)


def _bin_shares(goods: NDArray[np.int64], bads: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each bin's share of all goods and of all bads; if a bin has no goods or no bads, 0.5 is added to both counts."""
    extra = np.where((goods == 0) | (bads == 0), _ZERO_CELL_ROWS, 0.0)
    return (goods + extra) / goods.sum(), (bads + extra) / bads.sum()
