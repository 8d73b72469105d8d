"""The swap set: which decisions change when one model replaces another.

A bad rate covers rows with a known outcome. If only accepted customers have outcomes, it does not describe customers
that the old model declined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.inputs import Labels, Pds, check_matching


@dataclass(frozen=True, slots=True, eq=False)
class SwapCell:
    """The rows of one cell of a swap set.

    Attributes:
        places: Shape (rows,), the row numbers, ascending.
        bad_rate: None if the cell is empty.
    """

    row_numbers: NDArray[np.int64]
    rows: int
    bads: int
    bad_rate: float | None


@dataclass(frozen=True, slots=True, eq=False)
class SwapSet:
    """All rows, in four cells.

    Attributes:
        swapped_in: Declined by the champion, approved by the challenger.
        swapped_out: Approved by the champion, declined by the challenger.
        champion_approved: Share of all rows, 0 to 1.
        challenger_approved: Share of all rows, 0 to 1.
        champion_bad_rate: Bad rate of the rows that the champion approves; None without any.
        challenger_bad_rate: Bad rate of the rows that the challenger approves; None without any.
    """

    both_approved: SwapCell
    swapped_in: SwapCell
    swapped_out: SwapCell
    both_declined: SwapCell
    champion_approved: float
    challenger_approved: float
    champion_bad_rate: float | None
    challenger_bad_rate: float | None


def swap_set_at_cut_offs(labels: Labels, champion: Pds, challenger: Pds, cut_offs: tuple[float, float]) -> SwapSet:
    """Compare two models at given cut-offs.

    Args:
        labels: Shape (n,).
        champion: Shape (n,), pds.
        challenger: Shape (n,), pds.
        cut_offs: Of the champion and of the challenger; approved up to and including it.

    Raises:
        DataInvalid: Shapes do not match.
    """
    check_matching(labels, champion)
    check_matching(labels, challenger)
    return _swap_set(labels, champion <= cut_offs[0], challenger <= cut_offs[1])


def swap_set_at_rate(labels: Labels, champion: Pds, challenger: Pds, approval_rate: float, seed: int) -> SwapSet:
    """Compare two models that approve the same number of rows.

    Args:
        labels: Shape (n,).
        champion: Shape (n,), pds.
        challenger: Shape (n,), pds.
        approval_rate: In [0, 1]; both approve the nearest whole number of rows, the lowest pds first.
        seed: Seed of the random order that breaks ties between equal pds; the same order for both models, so that
            ties do not make a difference between them.

    Raises:
        DataInvalid: Shapes do not match, or the rate is outside [0, 1].
    """
    check_matching(labels, champion)
    check_matching(labels, challenger)
    if not 0.0 <= approval_rate <= 1.0:
        raise DataInvalid(f"the approval rate must lie in [0, 1], got {approval_rate}")
    lots = np.random.default_rng(seed).permutation(len(labels))
    count = round(approval_rate * len(labels))
    return _swap_set(labels, _approve_lowest(champion, lots, count), _approve_lowest(challenger, lots, count))


def _approve_lowest(pds: Pds, lots: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return a mask of the `count` rows with the lowest pds, ties in the order of `lots`."""
    approved = np.zeros(len(pds), dtype=np.bool_)
    approved[np.lexsort((lots, pds))[:count]] = True
    return approved


def _swap_set(labels: Labels, champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> SwapSet:
    """Return the four cells and both models' rates."""
    return SwapSet(
        both_approved=_swap_cell(labels, champion & challenger),
        swapped_in=_swap_cell(labels, ~champion & challenger),
        swapped_out=_swap_cell(labels, champion & ~challenger),
        both_declined=_swap_cell(labels, ~champion & ~challenger),
        champion_approved=float(np.mean(champion)),
        challenger_approved=float(np.mean(challenger)),
        champion_bad_rate=_swap_cell(labels, champion).bad_rate,
        challenger_bad_rate=_swap_cell(labels, challenger).bad_rate,
    )


def _swap_cell(labels: Labels, inside: NDArray[np.bool_]) -> SwapCell:
    """Return one cell."""
    places = np.flatnonzero(inside)
    bads = int(np.sum(labels[places]))
    return SwapCell(places, len(places), bads, bads / len(places) if len(places) else None)
