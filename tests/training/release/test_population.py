"""A bundle states the ranges and the distributions of the fit part, without an exact value at the end of a range."""

import math

import numpy as np
import pandas as pd
import pytest

from models.bundle_documents import BinnedValues
from tests.server.edges.credit.test_category_features import CATEGORY, LEVELS
from tests.small import SPEC, SmallFamily, made_customers, write_small_family
from training.release.population import bin_values
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


def test_levels_are_counted_by_name(category_family: SmallFamily) -> None:
    population = category_family.bundle().population
    assert population is not None
    _, samples = read_table_samples(read_spec(category_family.spec), category_family.table)
    fit = pd.read_csv(category_family.table).set_index("number").loc[samples.part("FIT")["customer_id"], "sector"]

    found = population.features["sector"]
    assert found.levels == fit.value_counts().to_dict()
    assert found.missing == int(fit.isna().sum())
    assert (found.min, found.max, found.bins) == (None, None, None)
