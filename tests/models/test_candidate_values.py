"""Candidate values are round, and within the range of the baseline."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.bundle_documents import FeatureSpec
from models.candidate_values import (
    _FINEST_POWER,
    STEPS_MAX,
    CandidateGrid,
    _rounded_intervals,
    _roundest_numbers,
    _thin_out,
    candidate_grids,
)
from models.schema import Schema
from tests.small import SmallFamily

ABOVE_1000 = math.nextafter(1000.0, math.inf)
ZERO_END = 1.0000000180025095e-35  # LightGBM's threshold between zero and positive values


def feature(sign: int = 0, low: float | None = None, high: float | None = None) -> FeatureSpec:
    """Return a numeric feature with this sign and these bounds."""
    return FeatureSpec.model_validate(
        {"name": "paid", "description": "paid", "group": "ALL", "sign": sign, "min": low, "max": high}
    )


def grid_of(ends: list[float], sign: int = 0, low: float | None = None, high: float | None = None) -> CandidateGrid:
    """Return the grid of a baseline with these interval ends."""
    found = _rounded_intervals(feature(sign, low, high), np.array(ends), None)
    fine_steps = sorted({end for pair in found for end in pair})
    steps = tuple(_thin_out([last for _, last in found]))
    return CandidateGrid(feature(sign, low, high), 0, steps, tuple(fine_steps), np.sort(np.array(ends)))


def bundle_of(small: SmallFamily, **feature_changes: object) -> Bundle:
    """Return the small family's bundle with all groups actionable and the feature `orders` changed."""
    bundle = small.bundle()
    document = bundle.schema.document
    features = [f.model_copy(update=feature_changes) if f.name == "orders" else f for f in document.features]
    groups = [group.model_copy(update={"actionable": True}) for group in document.groups]
    changed = document.model_copy(update={"features": tuple(features), "groups": tuple(groups)})
    return replace(bundle, schema=Schema(changed))


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.5, 1.5000000000000002, (1.0, 1.0)),
        (22.5, 90.0, (30.0, 90.0)),
        (2007.5, 2058.0, (2010.0, 2050.0)),
        (95000.0, 125000.0, (100000.0, 100000.0)),
        (2000.5, 2007.5, (2001.0, 2007.0)),
        (-1.5, ZERO_END, (0.0, 0.0)),
        (ZERO_END, 22.5, (10.0, 20.0)),
        (-309.5, -ZERO_END, (-300.0, -100.0)),
        (0.5, 1.0, (1.0, 1.0)),
    ],
)
def test_an_interval_is_represented_by_its_roundest_numbers(
    low: float, high: float, wanted: tuple[float, float]
) -> None:
    assert _roundest_numbers(low, high, 0) == wanted


def test_an_interval_without_a_whole_number_has_a_decimal_only_if_the_feature_has_decimals() -> None:
    assert _roundest_numbers(3.05, 3.45, _FINEST_POWER) == (3.1, 3.4)
    assert _roundest_numbers(3.05, 3.45, 0) is None
    assert _roundest_numbers(1000.0, ABOVE_1000, _FINEST_POWER) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(low=st.floats(-1e7, 1e7), high=st.floats(-1e7, 1e7))
def test_round_numbers_are_inside_their_interval_and_no_coarser_grid_has_any(low: float, high: float) -> None:
    assume(low < high)

    pair = _roundest_numbers(low, high, _FINEST_POWER)

    if pair is None:
        assert high - low <= 10.0**_FINEST_POWER
        return
    assert low < pair[0] <= pair[1] <= high
    power = next(
        (p for p in range(8, _FINEST_POWER - 1, -1) if float(f"{round(pair[0] / 10**p)}e{p}") == pair[0]), _FINEST_POWER
    )
    coarser = 10.0 ** (power + 1)
    assert pair[0] == 0.0 or math.floor(high / coarser) * coarser <= low or math.floor(high / coarser) * coarser > high


def test_an_open_interval_is_represented_by_the_nearest_number_with_two_digits() -> None:
    assert grid_of([391.0, 1000.0, ABOVE_1000]).steps == (390.0, 1000.0, 1100.0)
    assert grid_of([-24.5, 0.5, 1.5, math.nextafter(1.5, math.inf)]).steps == (-25.0, 0.0, 1.0, 2.0)


def test_candidates_are_within_the_bounds_of_the_feature() -> None:
    assert grid_of([391.0, 1000.0, ABOVE_1000], low=391, high=1000).steps == (1000.0,)


def test_if_all_customers_are_in_one_interval_their_median_may_be_proposed() -> None:
    assert _rounded_intervals(feature(), np.array([ZERO_END] * 9), 0.0) == [(0.0, 0.0)]
    assert _rounded_intervals(feature(), np.array([ZERO_END] * 9), None) == []


def test_candidates_only_lower_the_risk_and_are_sorted_nearest_first() -> None:
    ends = [10.0, 20.0, 30.0, 40.0, 50.0]

    assert grid_of(ends, sign=1).candidates(35.0).values == (30.0, 20.0, 10.0)
    assert grid_of(ends, sign=-1).candidates(15.0).values == (20.0, 30.0, 40.0, 50.0)
    assert grid_of(ends, sign=0).candidates(25.0).values == (30.0, 20.0, 40.0, 10.0, 50.0)
    assert grid_of(ends, sign=1).candidates(35.0).costs == (0.2, 0.4, 0.6)
    assert grid_of(ends, sign=1).candidates(10.0).values == ()
    assert grid_of(ends, sign=-1).candidates(49.0).costs == (0.0,)


def test_a_missing_value_has_no_candidates() -> None:
    assert grid_of([10.0, 20.0], sign=1).candidates(math.nan).values == ()


def test_finer_steps_lie_between_the_nearer_step_and_the_proposed_value() -> None:
    grid = replace(grid_of([10.0, 20.0, 90.0, 100.0]), fine_steps=(10.0, 20.0, 30.0, 60.0, 90.0, 100.0))

    assert grid.finer_steps(5.0, 90.0) == (30.0, 60.0)
    assert grid.finer_steps(95.0, 20.0) == (60.0, 30.0)
    assert grid.finer_steps(45.0, 90.0) == (60.0,)


def test_at_most_sixteen_steps_are_tried_and_both_ends_are_among_them() -> None:
    steps = grid_of([index * 10.0 for index in range(1, 101)]).steps

    assert len(steps) == STEPS_MAX == 16
    assert (steps[0], steps[-1]) == (10.0, 1000.0)


def test_a_group_is_not_actionable_by_default(small: SmallFamily) -> None:
    assert candidate_grids(small.bundle()) == ()
    assert {grid.feature.name for grid in candidate_grids(bundle_of(small))} == set(small.bundle().schema.names)


def test_a_category_has_no_grid(small: SmallFamily) -> None:
    bundle = bundle_of(small, kind="category", levels=("few", "many"))

    assert "orders" not in {grid.feature.name for grid in candidate_grids(bundle)}


def test_candidates_are_whole_if_the_baseline_is_whole(small: SmallFamily) -> None:
    grids = {grid.feature.name: grid for grid in candidate_grids(bundle_of(small))}

    for name in ("days_late", "orders"):
        assert all(rung.is_integer() for rung in grids[name].fine_steps)
    assert not all(rung.is_integer() for rung in grids["years"].fine_steps)


def test_a_baseline_without_rows_has_no_candidates(small: SmallFamily) -> None:
    bundle = bundle_of(small)
    path_dependent = {"rows": (), "method": "path_dependent"}

    assert candidate_grids(replace(bundle, baseline=bundle.baseline.model_copy(update=path_dependent))) == ()
