"""Monotone bins of a numeric feature: the bad rate never moves against the expected direction of the feature.

The expected direction is the sign of the feature: 1 if a higher value must not lower the risk, -1 if it must not raise the
risk. Binning starts with quantile bins and merges neighbours in three steps:

1. Merge neighbours whose bad rates violate the expected direction (pool adjacent violators: Ayer et al. 1955; Barlow et
   al. 1972).
2. Merge each bin that is too small or has only one outcome with a neighbour.
3. Merge the two neighbours that differ least, until the number of bins is small enough.

Merging two neighbours of a monotone sequence keeps the sequence monotone, so a later step does not undo an earlier one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.measures.bins import NumberBins, Values, quantile_bins
from training.measures.inputs import Labels

_PRE_BINS = 20  # number of quantile bins at the start
BIN_SHARE_MIN = 0.05  # minimum share of the rows with a value; the bad rate of a smaller bin is mostly noise


@dataclass(frozen=True, slots=True)
class _Block:
    """One bin, or several neighbouring bins that were merged; `top` is the upper edge."""

    goods: int
    bads: int
    top: float

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.goods + self.bads

    @property
    def bad_rate(self) -> float:
        """Return the bad rate, which is always defined, because a block is never empty."""
        return self.bads / self.rows


def monotone_bins(values: Values, labels: Labels, sign: int, bins_max: int) -> NumberBins:
    """Return monotone bins of a numeric feature for a scorecard.

    Args:
        values: Shape (n,); NaN counts as missing. Missing values have a bin of their own, which the sign ignores.
        labels: Shape (n,).
        sign: 1 if the bad rate must rise from bin to bin, -1 if the bad rate must fall, 0 if its direction is free.
        bins_max: Maximum number of bins, not counting the bin for missing values; at least 1.

    Returns:
        The bins; a single bin if no value is present or if merging removes every edge.
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
    bins = quantile_bins(values, _PRE_BINS)
    codes = bins.codes(values)
    count = len(bins.edges) + 1
    bads = np.bincount(codes[labels == 1], minlength=count)[:count].tolist()
    goods = np.bincount(codes[labels == 0], minlength=count)[:count].tolist()
    return [_Block(*cell) for cell in zip(goods, bads, (*bins.edges, np.inf), strict=True)]


def _pool_violators(blocks: list[_Block], sign: int) -> list[_Block]:
    """Merge neighbours until the bad rate strictly rises (sign 1) or falls (sign -1)."""
    pooled: list[_Block] = []
    for block in blocks:
        pooled.append(block)
        # The merged block may in turn violate the order with the block before it, so merging continues backwards.
        while len(pooled) > 1 and sign * (pooled[-1].bad_rate - pooled[-2].bad_rate) <= 0.0:
            pooled = _merge_with_next(pooled, len(pooled) - 2)
    return pooled


def _merge_unfit(blocks: list[_Block], unfit: Callable[[_Block], bool]) -> list[_Block]:
    """Merge every unfit block with the neighbour from which it differs least."""
    while len(blocks) > 1:
        index = next((index for index, block in enumerate(blocks) if unfit(block)), None)
        if index is None:
            break
        # The unfit block can be merged with the block before it or with the block after it.
        lower = [low for low in (index - 1, index) if 0 <= low < len(blocks) - 1]
        blocks = _merge_with_next(blocks, min(lower, key=lambda low: _merge_loss(blocks[low], blocks[low + 1])))
    return blocks


def _merge_with_next(blocks: list[_Block], low: int) -> list[_Block]:
    """Return the blocks with the block at index `low` and the next block merged."""
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
