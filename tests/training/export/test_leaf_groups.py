"""Units hold every leaf once, in tables of few cells; and the tables hold the Shapley values of their definition."""

import itertools
import math
import tracemalloc
from collections import Counter

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.oracles import FloatArray
from tests.training.export.example_models import example_model, example_rows, fit
from tests.training.export.random_models import draw_recipe, fit_recipe
from training.export.bins import FeatureBins, ensemble_bins, row_classes
from training.export.leaf_groups import LeafGroup, initial_groups, partition_tree
from training.export.merging import TableBudget, merge_within_budget
from training.export.shapley import (
    BASELINE_SETS_MAX,
    CACHED_WIDTH_MAX,
    WEIGHTS_BYTES_MAX,
    cell_digits,
    contribution_table,
    interventional_table,
    path_dependent_table,
    signed_weights,
)
from training.export.trees import Ensemble, Leaf, NumericSplit, SplitNode, Tree, read_ensemble

CLOSE = {"rtol": 0.0, "atol": 1e-14}


def leaf_values_of(tree: Tree) -> list[float]:
    """Give the values of all leaves, left to right."""
    return [tree.value] if isinstance(tree, Leaf) else leaf_values_of(tree.left) + leaf_values_of(tree.right)


def ensemble_from(*trees: Tree) -> Ensemble:
    """Give a model of these trees, of 20 features."""
    return Ensemble(trees, 20, zero_as_missing=frozenset(), categorical=frozenset())


def merged_groups(ensemble: Ensemble, cells_max: int = 1024) -> list[LeafGroup]:
    """Cut, and join up to so many cells."""
    return merge_within_budget(
        initial_groups(ensemble, ensemble_bins(ensemble), min(cells_max, 64)), TableBudget(10**7, 1, 1, cells_max, 20)
    )


def chain(length: int) -> Tree:
    """Give a tree that asks another feature at every step and goes on to the right."""
    tree: Tree = Leaf(0.5, 10)
    for feature in reversed(range(length)):
        tree = SplitNode(
            NumericSplit(feature, 0.0, missing_left=True), Leaf(feature + 1.0, 10), tree, 10 * (length - feature + 1)
        )
    return tree


def with_categories() -> lightgbm.Booster:
    """Give a model with category splits and gaps."""
    wanted = (
        recipe for recipe in map(draw_recipe, range(500)) if recipe.categorical_columns and recipe.missing_share == 0.3
    )
    return fit_recipe(
        next(recipe for recipe in wanted if recipe.training_mode == "plain" and recipe.parameters["num_leaves"] > 8)
    )


MODELS = {
    "trees of 8 leaves": lambda: example_model("missing type NaN"),
    "deep trees": lambda: example_model("deep trees"),
    "features repeated on a path": lambda: example_model("features repeated on a path"),
    "a leaf among trees": lambda: example_model("a leaf among trees"),
    "zeros": lambda: example_model("missing type Zero with gaps"),
    "categories": with_categories,
    "many features": lambda: fit(example_rows(400, 40, gaps=0.1), {"num_leaves": 24, "extra_trees": True}, 6),
}


# --- how a model is cut and joined -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells_max", [1, 128, 1024])
@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_is_in_one_unit_and_no_unit_of_more_leaves_has_too_many_cells(name: str, cells_max: int) -> None:
    ensemble = read_ensemble(MODELS[name]())
    units = merged_groups(ensemble, cells_max)

    found = Counter(path.value for unit in units for path in unit.paths)
    assert found == Counter(
        value for tree in ensemble.trees if isinstance(tree, SplitNode) for value in leaf_values_of(tree)
    )
    assert all(unit.cell_count <= max(cells_max, *(2 ** len(path.conditions) for path in unit.paths)) for unit in units)


@pytest.mark.parametrize("name", MODELS)
def test_digits_number_the_cells_without_gaps(name: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins = ensemble_bins(ensemble)
    for unit in merged_groups(ensemble):
        assert list(unit.digits) == sorted({fact.feature for path in unit.paths for fact in path.conditions})
        for feature, digits in unit.digits.items():
            assert len(digits) == len(bins[feature].goes_left)
            assert set(digits.tolist()) == set(range(unit.radices[feature]))
        cells = list(zip(*(part.tolist() for part in cell_digits(unit).values()), strict=True))
        assert len(set(cells)) == len(cells) == unit.cell_count == math.prod(unit.radices.values())


@pytest.mark.parametrize("name", MODELS)
def test_classes_of_one_digit_meet_the_same_facts_of_every_path(name: str) -> None:
    for unit in merged_groups(read_ensemble(MODELS[name]())):
        for fact in (fact for path in unit.paths for fact in path.conditions):
            met = set(zip(unit.digits[fact.feature].tolist(), fact.satisfied.tolist(), strict=True))
            assert len(met) == unit.radices[fact.feature]


@pytest.mark.parametrize("name", MODELS)
def test_a_row_meets_one_path_of_each_tree_whatever_the_units(name: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins = ensemble_bins(ensemble)
    rows = example_rows(60, ensemble.feature_count, seed=77, gaps=0.2)
    classes = row_classes(ensemble, bins, rows)
    for tree in ensemble.trees:
        met = np.zeros(len(rows), dtype=np.int64)
        for path in (path for unit in partition_tree(tree, bins, 1024) for path in unit.paths):
            met += np.all(
                [fact.satisfied[classes[fact.feature]] for fact in path.conditions] or [[True] * len(rows)], axis=0
            )
        assert (met == 1).all()


def test_a_tree_of_8_leaves_on_few_features_is_one_unit() -> None:
    ensemble = read_ensemble(example_model("missing type NaN"))
    bins = ensemble_bins(ensemble)
    trees = [tree for tree in ensemble.trees if len(leaf_values_of(tree)) == 8]

    assert trees
    assert all(len(partition_tree(tree, bins, 1024)) == 1 for tree in trees)


def test_trees_that_ask_alike_share_a_unit_without_more_cells() -> None:
    ensemble = ensemble_from(chain(6), chain(6), chain(4))

    (unit,) = merged_groups(ensemble)

    assert (len(unit.paths), unit.cell_count) == (7 + 7 + 5, 2**6)


def test_a_tree_joins_the_unit_that_it_makes_grow_least() -> None:
    other = SplitNode(NumericSplit(15, 0.0, missing_left=True), Leaf(7.0, 1), Leaf(8.0, 1), 2)
    ensemble = ensemble_from(chain(7), other, chain(6))

    units = merged_groups(ensemble, 2**7)

    assert sorted((unit.cell_count, len(unit.paths)) for unit in units) == [(2, 2), (2**7, 8 + 7)]


def test_a_leaf_that_needs_too_many_cells_is_a_unit_of_its_own() -> None:
    units = partition_tree(chain(6), ensemble_bins(ensemble_from(chain(6))), cells_max=8)

    assert [len(unit.paths) for unit in units] == [1] * 7
    assert [unit.cell_count for unit in units] == [2, 4, 8, 16, 32, 64, 64]


def test_two_questions_about_one_feature_are_one_fact_of_a_path() -> None:
    inner = SplitNode(NumericSplit(0, 1.0, missing_left=False), Leaf(1.0, 1), Leaf(2.0, 3), 4)
    ensemble = ensemble_from(SplitNode(NumericSplit(0, 3.0, missing_left=True), inner, Leaf(3.0, 4), 8))

    (unit,) = merged_groups(ensemble)

    assert [len(path.conditions) for path in unit.paths] == [1, 1, 1]
    assert [path.conditions[0].cover for path in unit.paths] == [1 / 8, 3 / 8, 1 / 2]
    assert unit.cell_count == 3  # missing goes with the middle


def test_a_leaf_alone_has_no_unit() -> None:
    assert merged_groups(ensemble_from(Leaf(0.5, 10), Leaf(-0.5, 10))) == []


# --- what the tables hold ----------------------------------------------------------------------------------------------


def shapley_by_definition(row: FloatArray, other: FloatArray) -> FloatArray:
    """Give the Shapley values of the game "every fact is met", by the formula over all coalitions.

    A coalition's worth is the product of the chances that its members bring (row) and the others have
    (other): 1 or 0, or a cover.
    """
    width = len(row)
    values = np.zeros(width)
    for feature in range(width):
        rest = [one for one in range(width) if one != feature]
        for size in range(width):
            weight = math.factorial(size) * math.factorial(width - size - 1) / math.factorial(width)
            for members in itertools.combinations(rest, size):
                brought = [row[one] if one in members else other[one] for one in rest]
                values[feature] += weight * math.prod(brought) * (row[feature] - other[feature])
    return values


def bits_as_floats(number: int, width: int) -> FloatArray:
    """Write the set of a number as ones and zeros."""
    return np.array([number >> bit & 1 for bit in range(width)], dtype=np.float64)


@pytest.mark.parametrize("width", range(1, 10))
def test_the_kernel_of_a_leaf_is_the_shapley_formula_over_all_coalitions(width: int) -> None:
    whole = 1 << width
    random = np.random.default_rng(width)
    against = np.arange(whole) if width <= 4 else np.sort(random.choice(whole, 4, replace=False))
    rows = np.arange(whole) if width <= 4 else np.append(random.choice(whole, 6), [0, whole - 1])

    found = signed_weights(width, against)

    assert found.shape == (whole, len(against), width)
    expected = [
        [shapley_by_definition(bits_as_floats(row, width), bits_as_floats(z, width)) for z in against] for row in rows
    ]
    np.testing.assert_allclose(found[rows], np.array(expected), **CLOSE)


def test_the_widths_tried_lie_on_both_sides_of_what_is_kept() -> None:
    assert 1 < CACHED_WIDTH_MAX < 9


@pytest.mark.parametrize("width", [1, 3, CACHED_WIDTH_MAX, 8, 9])
def test_the_table_of_a_leaf_is_its_value_times_the_mean_over_the_baseline(width: int) -> None:
    random = np.random.default_rng(width)
    baseline = random.integers(0, 1 << width, 12)
    baseline[:4] = (1 << width) - 1

    found = interventional_table(-2.5, baseline, width)

    for row in random.integers(0, 1 << width, 5).tolist():
        games = [shapley_by_definition(bits_as_floats(row, width), bits_as_floats(z, width)) for z in baseline.tolist()]
        np.testing.assert_allclose(found[row], -2.5 * np.mean(games, axis=0), **CLOSE)


@pytest.mark.parametrize("width", [8, 9])
def test_a_baseline_of_more_sets_than_are_taken_at_a_time_is_taken_whole(width: int) -> None:
    """Each set of a baseline of all sets alone, added up by hand."""
    baseline = np.append(np.arange(1 << width), [3, 3, 5])[-3 * BASELINE_SETS_MAX :]
    assert len(np.unique(baseline)) > (width - 7) * BASELINE_SETS_MAX

    found = interventional_table(1.5, baseline, width)

    alone = sum(interventional_table(1.5, np.array([one]), width) for one in baseline.tolist()) / len(baseline)
    np.testing.assert_allclose(found, alone, **CLOSE)


def test_the_table_of_a_wide_leaf_takes_little_memory_however_many_sets_the_baseline_holds() -> None:
    """128 sets at once would take 503 MB."""
    width, sets = 15, np.arange(BASELINE_SETS_MAX) * 250 + 11
    tracemalloc.start()

    found = interventional_table(1.0, sets, width)

    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 2 * WEIGHTS_BYTES_MAX
    games = [
        shapley_by_definition(bits_as_floats(9_999, width), bits_as_floats(one, width)) for one in sets[:1].tolist()
    ]
    np.testing.assert_allclose(interventional_table(1.0, sets[:1], width)[9_999], games[0], **CLOSE)
    assert found.shape == (1 << width, width)


@pytest.mark.parametrize("width", range(1, 8))
def test_the_path_dependent_table_is_the_sum_over_all_subsets(width: int) -> None:
    covers = np.random.default_rng(width).random(width)
    covers[0] = 1.0

    found = path_dependent_table(-1.5, covers)

    expected = [-1.5 * shapley_by_definition(bits_as_floats(row, width), covers) for row in range(1 << width)]
    np.testing.assert_allclose(found, np.array(expected), **CLOSE)


def line_by_definition(unit: LeafGroup, cell: int, baseline: dict[int, NDArray[np.int64]] | None) -> FloatArray:
    """Give the contributions in one cell, leaf by leaf, by the formula over all coalitions."""
    columns, total = list(unit.digits), np.zeros(len(unit.digits))
    for path in unit.paths:
        row = np.array([cell_satisfies(unit, fact.feature, fact.satisfied, cell) for fact in path.conditions])
        if baseline is None:
            games = [shapley_by_definition(row, np.array([fact.cover for fact in path.conditions]))]
        else:
            others = np.array([fact.satisfied[baseline[fact.feature]] for fact in path.conditions], dtype=np.float64)
            games = [shapley_by_definition(row, other) for other in others.T]
        total[[columns.index(fact.feature) for fact in path.conditions]] += path.value * np.mean(games, axis=0)
    return total


def cell_satisfies(unit: LeafGroup, feature: int, met: NDArray[np.bool_], cell: int) -> float:
    """Tell whether a cell meets a fact: by any class of its digit, which counts up fastest for the first feature."""
    for one, size in unit.radices.items():
        if one == feature:
            return float(met[unit.digits[feature].tolist().index(cell % size)])
        cell //= size
    raise AssertionError(feature)


@pytest.mark.parametrize("method", ["interventional", "path-dependent"])
@pytest.mark.parametrize("name", ["zeros", "categories", "features repeated on a path", "a leaf among trees"])
def test_every_line_of_a_unit_is_the_shapley_formula_over_all_coalitions(name: str, method: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins: dict[int, FeatureBins] = ensemble_bins(ensemble)
    baseline = row_classes(ensemble, bins, example_rows(7, ensemble.feature_count, seed=78, gaps=0.2))
    against = baseline if method == "interventional" else None
    for unit in merged_groups(ensemble, 256)[:3]:
        lines = contribution_table(unit, against)

        assert lines.shape == (unit.cell_count, len(unit.digits))
        for cell in np.random.default_rng(0).integers(0, unit.cell_count, 6).tolist():
            np.testing.assert_allclose(lines[cell], line_by_definition(unit, cell, against), **CLOSE)
