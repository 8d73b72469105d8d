"""Swap sets equal counts by hand, and their cells add up to all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataInvalid
from training.measures.swap import swap_set_at_cut_offs, swap_set_at_rate

LABELS = np.array([0, 0, 1, 1, 0, 1])
CHAMPION = np.array([0.10, 0.20, 0.15, 0.60, 0.50, 0.90])
CHALLENGER = np.array([0.05, 0.10, 0.55, 0.70, 0.12, 0.80])


def test_at_the_same_approval_rate_one_good_customer_moves_in_and_one_bad_customer_moves_out() -> None:
    found = swap_set_at_rate(LABELS, CHAMPION, CHALLENGER, approval_rate=0.5, seed=0)

    assert found.swapped_in.row_numbers.tolist() == [4]
    assert found.swapped_out.row_numbers.tolist() == [2]
    assert (found.swapped_in.bad_rate, found.swapped_out.bad_rate) == (0.0, 1.0)
    assert (found.champion_bad_rate, found.challenger_bad_rate) == (pytest.approx(1 / 3), 0.0)
    assert (found.both_approved.rows, found.both_declined.rows, found.both_declined.bads) == (2, 2, 2)
    assert found.champion_approved == found.challenger_approved == 0.5


def test_a_pd_at_the_cut_off_is_approved() -> None:
    found = swap_set_at_cut_offs(LABELS, CHAMPION, CHALLENGER, (0.15, 0.05))

    assert found.both_approved.row_numbers.tolist() == [0]
    assert found.swapped_out.row_numbers.tolist() == [2]
    assert found.swapped_in.bad_rate is None
    assert (found.champion_approved, found.challenger_approved) == (pytest.approx(1 / 3), pytest.approx(1 / 6))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_every_row_is_in_one_cell_and_equally_many_move_in_and_out_even_with_ties(
    rows: list[tuple[int, int, int]], rate: float, seed: int
) -> None:
    labels, champion, challenger = (np.array(column) for column in zip(*rows, strict=True))

    found = swap_set_at_rate(labels, champion / 3, challenger / 3, rate, seed)

    cells = (found.both_approved, found.swapped_in, found.swapped_out, found.both_declined)
    assert sorted(place for cell in cells for place in cell.row_numbers.tolist()) == list(range(len(rows)))
    assert sum(cell.bads for cell in cells) == labels.sum()
    assert found.swapped_in.rows == found.swapped_out.rows
    assert found.champion_approved == found.challenger_approved == pytest.approx(rate, abs=0.5 / len(rows) + 1e-9)


def test_a_model_compared_with_itself_swaps_no_rows_even_if_all_pds_are_equal() -> None:
    found = swap_set_at_rate(LABELS, np.full(6, 0.2), np.full(6, 0.2), 0.5, seed=1)

    assert found.swapped_in.rows == found.swapped_out.rows == 0


def test_rates_above_1_and_different_lengths_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="approval rate"):
        swap_set_at_rate(LABELS, CHAMPION, CHALLENGER, 1.5, seed=0)
    with pytest.raises(DataInvalid, match="shape"):
        swap_set_at_cut_offs(LABELS, CHAMPION, CHALLENGER[:3], (0.1, 0.1))
