"""A bundle states the ranges and the distributions of the fit part, without an exact value at the end of a range."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bundle_documents import BinnedValues, FeaturePopulation, FeatureSpec
from models.stability_index import psi_of_counts
from tests.server.edges.credit.test_category_features import CATEGORY, LEVELS
from tests.small import SPEC, SmallFamily, made_customers, write_small_family
from training.release.population import bin_values, feature_population
from training.sources.table import read_table_samples
from training.spec import read_spec


@pytest.fixture(scope="module")
def category_family(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train the small family with the customer's sector, which is missing for some customers."""
    table = made_customers()
    sector = np.random.default_rng(6).choice([*LEVELS, None], len(table), p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    return write_small_family(tmp_path_factory.mktemp("sectors"), SPEC + CATEGORY, table.assign(sector=sector))


def test_ranges_and_counts_are_those_of_the_fit_part(small: SmallFamily) -> None:
    population = small.bundle().population
    assert population is not None
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    fit = samples.rows[samples.rows["sample"] == "FIT"]

    assert population.rows == len(fit)
    assert list(population.features) == list(samples.names)
    for name, found in population.features.items():
        column: pd.Series = fit[name]
        assert found.missing == int(column.isna().sum())
        assert found.min is not None
        assert found.max is not None
        assert found.min <= column.min()
        assert column.max() <= found.max
        assert found.bins is not None
        assert sum(found.bins.counts) == int(column.notna().sum())
        for edge, below in zip(found.bins.edges, np.cumsum(found.bins.counts), strict=False):
            assert int((column <= edge).sum()) == below
    years = population.features["years"]
    assert years.missing > 0
    calibration = samples.rows[samples.rows["sample"] == "CALIBRATION"]
    assert sum(population.log_odds.counts) == len(calibration)


def test_the_ends_of_a_range_have_two_significant_digits_and_do_not_leave_the_bounds_of_the_feature(
    small: SmallFamily,
) -> None:
    population = small.bundle().population
    assert population is not None
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    fit = samples.rows[samples.rows["sample"] == "FIT"]

    turnover = population.features["turnover"]
    largest = float(fit["turnover"].max())
    step = 10.0 ** (math.floor(math.log10(largest)) - 1)
    assert turnover.max == math.ceil(largest / step) * step != largest
    assert population.features["days_late"].min == 0
    assert (population.features["days_late"].max or math.inf) <= 365


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], BinnedValues(edges=(), counts=(1,))),
        ([0.0] * 95 + [1.0] * 5, BinnedValues(edges=(0.0,), counts=(95, 5))),
        ([0.0] * 5 + [1.0] * 95, BinnedValues(edges=(0.0,), counts=(5, 95))),
        ([0.0] * 900 + [float(each) for each in range(1, 101)], BinnedValues(edges=(0.0,), counts=(900, 100))),
        (
            [float(each) for each in range(1, 101)],
            BinnedValues(edges=tuple(10.0 * each for each in range(1, 10)), counts=(10,) * 10),
        ),
        (
            [float(each) for each in range(1, 11)],
            BinnedValues(edges=tuple(map(float, range(1, 10))), counts=(1,) * 10),
        ),
    ],
)
def test_deciles_that_are_equal_make_one_interval(values: list[float], expected: BinnedValues) -> None:
    assert bin_values(np.array(values)) == expected


def test_the_limits_of_intervals_are_not_the_amounts_of_customers_and_years_keep_their_intervals() -> None:
    amounts = np.round(np.random.default_rng(3).lognormal(9, 1.5, 5000), 2)
    years = np.random.default_rng(4).integers(2015, 2027, 5000).astype(float)

    found, dated = bin_values(amounts), bin_values(years)

    assert len(found.edges) == 9
    assert not set(found.edges) & set(amounts.tolist())
    assert all(each == float(f"{each:.2g}") for each in found.edges)
    assert max(found.counts) < 0.12 * len(amounts), "the intervals are still deciles, nearly"
    assert len(dated.edges) == 9
    assert set(dated.edges) <= set(years.tolist())


@pytest.mark.parametrize("values", [[5e-324, 1e308], [-1e300, 0.0], [-0.0, 0.0], [1.5], [1e16, 1e16 + 2]])
def test_extreme_values_have_a_distribution(values: list[float]) -> None:
    found = bin_values(np.array(values))
    assert sum(found.counts) == len(values)


def state_values(values: NDArray[np.float64]) -> FeaturePopulation:
    """Return what a bundle states about a number without bounds."""
    feature = FeatureSpec.model_validate({"name": "x", "description": "Number", "group": "G"})
    return feature_population(feature, pd.Series(values))


@pytest.mark.parametrize("distant", [0.0, 9_999.0])
def test_one_distant_value_leaves_years_their_intervals_and_the_range_its_other_end(distant: float) -> None:
    years = np.repeat(np.arange(1990.0, 2025.0), 100)

    usual, unknown = state_values(years), state_values(np.append(years, distant))

    for found in (usual, unknown):
        assert found.bins is not None
        assert len(found.bins.edges) == 9
        assert set(found.bins.edges) <= set(years.tolist())
        assert {count // 100 for count in found.bins.counts} == {3, 4}, "three or four whole years"
    assert (usual.min, usual.max) == (1990.0, 2024.0)
    assert (unknown.min, unknown.max) == ((0.0, 2024.0) if distant == 0.0 else (1990.0, 10_000.0))


def test_one_distant_value_does_not_merge_the_rare_values_above_a_value_that_most_rows_share() -> None:
    rare = [float(year) for year in range(2_010, 2_020) for _ in range(10)]

    found = bin_values(np.array([2_009.0] * 1_000 + rare + [9_999.0]))

    assert found == BinnedValues(edges=(2_010.0,), counts=(1_010, 91)), "less than a quarter of them"


def test_the_ends_and_limits_of_a_heavy_tail_have_few_digits() -> None:
    amounts = np.round(1_000.0 * (1.0 + np.random.default_rng(8).pareto(1.1, 5000)), 2)

    found = state_values(np.append(amounts, 123_456_789.01))

    assert found.bins is not None
    assert (found.max, found.bins.counts[-1]) == (130_000_000.0, pytest.approx(501, abs=20))
    assert all(each == float(f"{each:.3g}") for each in (found.min or 0.0, *found.bins.edges))
    assert max(found.bins.counts) < 0.13 * len(amounts)


@pytest.mark.parametrize(
    ("values", "edges", "ends"),
    [
        ([0.0, 1.0] * 50, (0.0,), (0.0, 1.0)),
        ([2_024.0] * 100, (), (2_000.0, 2_100.0)),
        ([123_456.78], (), (120_000.0, 130_000.0)),
        ([2.71828, 3.14159], (2.8,), (2.7, 3.2)),
        ([54_321.0, 54_323.0], (54_321.0,), (54_321.0, 54_323.0)),
        ([-43_219.5, -0.05, 7_777.7], (-43_000.0, -0.05), (-44_000.0, 7_800.0)),
        ([each / 10 for each in range(1, 11)], tuple(each / 10 for each in range(1, 10)), (0.1, 1.0)),
    ],
    ids=["binary", "all equal", "one value", "two values", "two near values", "negative", "ten values"],
)
def test_a_limit_has_two_digits_unless_the_next_limit_is_near(
    values: list[float], edges: tuple[float, ...], ends: tuple[float, float]
) -> None:
    found = state_values(np.array(values))

    assert found.bins is not None
    assert found.bins.edges == pytest.approx(edges)
    assert len(found.bins.counts) == len(edges) + 1
    assert (found.min, found.max) == ends


_NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1990, 2024).map(float),
    st.integers(0, 3).map(float),
    st.integers(0, 40).map(lambda steps: 1e15 + steps / 8),  # neighboring doubles
)


@given(st.lists(_NUMBERS, min_size=1, max_size=60))
@example([5e-324, 1e-323, 1.7e308, -1.7976931348623157e308, 1.7976931348623157e308])
@example([math.nextafter(1.0, 2.0), 1.0, math.nextafter(1.0, 0.0)])
def test_every_value_is_in_the_range_no_interval_is_empty_and_the_data_do_not_differ_from_themselves(
    numbers: list[float],
) -> None:
    values = np.array(numbers)

    found = state_values(values)

    assert found.bins is not None
    limits = [-math.inf, *found.bins.edges, math.inf]
    counts = [sum(low < each <= high for each in numbers) for low, high in pairwise(limits)]
    assert counts == list(found.bins.counts)
    assert min(counts) > 0
    assert sum(counts) == len(numbers)
    assert found.min is not None
    assert found.max is not None
    assert found.min <= min(numbers)
    assert max(numbers) <= found.max
    assert len(counts) == len(set(numbers)) if len(set(numbers)) <= 10 else len(counts) <= 10
    assert psi_of_counts(np.array(counts), np.array(found.bins.counts)) == 0.0


def test_levels_are_counted_by_name(category_family: SmallFamily) -> None:
    population = category_family.bundle().population
    assert population is not None
    _, samples = read_table_samples(read_spec(category_family.spec), category_family.table)
    fit = pd.read_csv(category_family.table).set_index("number").loc[samples.part("FIT")["customer_id"], "sector"]

    found = population.features["sector"]
    assert found.levels == fit.value_counts().to_dict()
    assert found.missing == int(fit.isna().sum())
    assert (found.min, found.max, found.bins) == (None, None, None)
