"""Predictive power of one feature: weight of evidence and information value.

Sign: WOE = ln(share of all goods / share of all bads), so a bin above 0 is safer than average. (Some libraries use the
opposite sign.) In a bin without goods or without bads, 0.5 rows are added to both. Missing values have their own
bin. Source: Siddiqi 2006, Credit risk scorecards; the 0.5 as in SAS HPBIN.
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
        woe: ln(%good / %bad); 0 where the bin holds no row.
        iv: (%good - %bad) * woe; 0 and up.
    """

    bin: str
    rows: int
    goods: int
    bads: int
    woe: float
    iv: float


@dataclass(frozen=True, slots=True)
class InformationValue:
    """The weight of evidence of every bin, and their information value.

    Attributes:
        iv: Information value; < 0.02 useless, to 0.1 weak, to 0.3 medium, to 0.5 strong, above suspicious.
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
        codes: Shape (n,), from bins.codes(values).
        labels: Shape (n,); both outcomes.
        bins: Numbers or categories.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    check_matching(labels, codes.astype(np.float64))
    check_both_outcomes(labels)
    goods = np.bincount(codes[labels == 0], minlength=len(bins.names))
    bads = np.bincount(codes[labels == 1], minlength=len(bins.names))
    woes = weights_of_evidence(goods, bads)
    good_shares, bad_shares = _bin_shares(goods, bads)
    values = np.where(goods + bads > 0, (good_shares - bad_shares) * woes, 0.0)
    found = zip(bins.names, goods.tolist(), bads.tolist(), woes.tolist(), values.tolist(), strict=True)
    table = tuple(BinEvidence(name, good + bad, good, bad, woe, iv) for name, good, bad, woe, iv in found)
    return InformationValue(table, float(values.sum()))


def weights_of_evidence(goods: NDArray[np.int64], bads: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ln(%good / %bad) of every bin: shape (bins,); 0 where a bin holds no row.

    Args:
        goods: Shape (bins,), rows.
        bads: Shape (bins,), rows.

    Raises:
        DataInvalid: Shapes that differ, or not one good or not one bad row in all.
    """
    if np.shape(goods) != np.shape(bads) or not np.sum(goods) or not np.sum(bads):
        raise DataInvalid("weights of evidence need goods and bads over the same bins")
    good_shares, bad_shares = _bin_shares(goods, bads)
    return np.log(good_shares / bad_shares) * (goods + bads > 0)


def _bin_shares(goods: NDArray[np.int64], bads: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each bin's share of all goods and of all bads; in a bin with a zero cell both counts are 0.5 higher."""
    extra = np.where((goods == 0) | (bads == 0), _ZERO_CELL_ROWS, 0.0)
    return (goods + extra) / goods.sum(), (bads + extra) / bads.sum()
