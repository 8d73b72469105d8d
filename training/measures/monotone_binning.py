"""Bins of a numeric feature whose bad rate never moves against the sign of the feature.

Quantile bins are merged: neighbours that violate the sign first (pool adjacent violators: Ayer et al. 1955; Barlow et
al. 1972), then bins that are too small or have one outcome only, then the two that differ least, until few enough are
left. Merging neighbours keeps a monotone sequence monotone, so later steps do not undo earlier ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.measures.bins import NumberBins, Values, quantile_bins
from training.measures.inputs import Labels

_PRE_BINS = 20  # of equal mass
BIN_SHARE_MIN = 0.05  # of the present rows; a smaller bin's bad rate is noise


@dataclass(frozen=True, slots=True)
class _Block:
    """One or more merged neighbouring bins; `top` is the edge above them."""

    goods: int
    bads: int
    top: float

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.goods + self.bads

    @property
    def bad_rate(self) -> float:
        """Return the bad rate; a block is never empty."""
        return self.bads / self.rows


def monotone_bins(values: Values, labels: Labels, sign: int, bins_max: int) -> NumberBins:
    """Bin a number for a scorecard.

    Args:
        values: Shape (n,); NaN is missing and has its own bin outside the order.
        labels: Shape (n,).
        sign: 1 where a higher value never lowers the bad rate, -1 where it never raises it, 0 for any shape.
        bins_max: At least 1, not counting the one for missing values.

    Returns:
        The bins; a single one if no value is present or no edge separates outcomes.
    """
    present = np.isfinite(values)
    if not present.any():
        return NumberBins(())
    blocks = _initial_blocks(values[present], labels[present])
    if sign:
        blocks = _pool_violators(blocks, sign)
    rows_min = BIN_SHARE_MIN * int(present.sum())
    blocks = _merge_unfit(blocks, lambda block: block.rows < rows_min or not block.goods or not block.bads)
    while len(blocks) > bins_max:
        losses = [_merge_loss(low, high) for low, high in pairwise(blocks)]
        blocks = _merge_with_next(blocks, losses.index(min(losses)))
    return NumberBins(tuple(block.top for block in blocks[:-1]))


def _initial_blocks(values: Values, labels: Labels) -> list[_Block]:
    """Return the quantile bins to start from, ascending."""
    fine = quantile_bins(values, _PRE_BINS)
    codes = fine.codes(values)
    count = len(fine.edges) + 1
    bads = np.bincount(codes[labels == 1], minlength=count)[:count].tolist()
    goods = np.bincount(codes[labels == 0], minlength=count)[:count].tolist()
    return [_Block(*cell) for cell in zip(goods, bads, (*fine.edges, np.inf), strict=True)]


def _pool_violators(blocks: list[_Block], sign: int) -> list[_Block]:
    """Merge neighbours until the bad rate strictly rises (sign 1) or falls (sign -1)."""
    pooled: list[_Block] = []
    for block in blocks:
        pooled.append(block)
        # A merge may make the new block violate the order with the one before it, so look back until it does not.
        while len(pooled) > 1 and sign * (pooled[-1].bad_rate - pooled[-2].bad_rate) <= 0.0:
            pooled = _merge_with_next(pooled, len(pooled) - 2)
    return pooled


def _merge_unfit(blocks: list[_Block], unfit: Callable[[_Block], bool]) -> list[_Block]:
    """Merge every unfit block with the neighbour from which it differs least."""
    while len(blocks) > 1:
        place = next((place for place, block in enumerate(blocks) if unfit(block)), None)
        if place is None:
            break
        lower = [low for low in (place - 1, place) if 0 <= low < len(blocks) - 1]
        blocks = _merge_with_next(blocks, min(lower, key=lambda low: _merge_loss(blocks[low], blocks[low + 1])))
    return blocks


def _merge_with_next(blocks: list[_Block], low: int) -> list[_Block]:
    """Merge the block at `low` with the next one."""
    under, over = blocks[low], blocks[low + 1]
    return [*blocks[:low], _Block(under.goods + over.goods, under.bads + over.bads, over.top), *blocks[low + 2 :]]


def _merge_loss(low: _Block, high: _Block) -> float:
    """Return the log-likelihood lost by merging two blocks; 0 if their bad rates are equal."""
    both = _Block(low.goods + high.goods, low.bads + high.bads, high.top)
    return _log_likelihood(low) + _log_likelihood(high) - _log_likelihood(both)


def _log_likelihood(block: _Block) -> float:
    """Return the log-likelihood of a block's outcomes at its own bad rate."""
    counts = np.array([count for count in (block.goods, block.bads) if count], dtype=np.float64)
    return float(np.sum(counts * np.log(counts / block.rows)))
