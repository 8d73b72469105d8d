"""The swap set: which decisions change when one model replaces another.

The old model is the champion, the new model is the challenger. Bad rates cover only rows with a known outcome. If only
customers whom the champion approved have outcomes, the bad rates do not describe the customers whom it declined.
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
        row_numbers: Shape (rows,), the indices of the rows, ascending.
        rows: Number of rows in the cell.
        bads: Number of bad rows in the cell.
        bad_rate: Share of bad rows; None if the cell is empty.
    """

    row_numbers: NDArray[np.int64]
    rows: int
    bads: int
    bad_rate: float | None


@dataclass(frozen=True, slots=True, eq=False)
class SwapSet:
    """All rows, in four cells by the decisions of both models.

    Attributes:
        both_approved: Rows that both models approve.
        swapped_in: Rows that the champion declines and the challenger approves.
        swapped_out: Rows that the champion approves and the challenger declines.
        both_declined: Rows that both models decline.
        champion_approved: Share of all rows that the champion approves, 0 to 1.
        challenger_approved: Share of all rows that the challenger approves, 0 to 1.
        champion_bad_rate: Bad rate of the rows that the champion approves; None if the champion approves no row.
        challenger_bad_rate: Bad rate of the rows that the challenger approves; None if the challenger approves no row.
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
        cut_offs: Cut-off of the champion and of the challenger; a model approves pds up to and including its cut-off.

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
        approval_rate: Share of the rows that each model approves, in [0, 1], rounded to whole rows; each approves the
            rows to which it gives the lowest pds.
        seed: Seed of the random order that breaks ties between equal pds. Both models use the same order, so that ties
            alone do not cause a difference between the models.

    Raises:
        DataInvalid: Shapes do not match, or the rate is outside [0, 1].
    """
    check_matching(labels, champion)
    check_matching(labels, challenger)
    if not 0.0 <= approval_rate <= 1.0:
        raise DataInvalid(f"the approval rate must lie in [0, 1], got {approval_rate}; correct it")
    tie_order = np.random.default_rng(seed).permutation(len(labels))
    count = round(approval_rate * len(labels))
    return _swap_set(labels, _approve_lowest(champion, tie_order, count), _approve_lowest(challenger, tie_order, count))


def _approve_lowest(pds: Pds, tie_order: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return a mask of the `count` rows with the lowest pds; equal pds are ordered by `tie_order`."""
    approved = np.zeros(len(pds), dtype=np.bool_)
    approved[np.lexsort((tie_order, pds))[:count]] = True
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
    """Return the cell of the rows for which `inside` is true."""
    row_numbers = np.flatnonzero(inside)
    rows, bads = len(row_numbers), int(np.sum(labels[row_numbers]))
    return SwapCell(row_numbers, rows, bads, bads / rows if rows else None)
