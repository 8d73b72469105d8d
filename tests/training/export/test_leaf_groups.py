"""Every leaf is in one group of few cells, and the tables contain the Shapley values of the definition."""

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
    """Return the values of all leaves, left to right."""
    return [tree.value] if isinstance(tree, Leaf) else leaf_values_of(tree.left) + leaf_values_of(tree.right)


def ensemble_from(*trees: Tree) -> Ensemble:
    """Return a model of these trees, with 20 features."""
    return Ensemble(trees, 20, zero_as_missing=frozenset(), categorical=frozenset())


def merged_groups(ensemble: Ensemble, cells_max: int = 1024) -> list[LeafGroup]:
    """Return the groups of a model, merged while no merged group exceeds `cells_max` cells."""
    return merge_within_budget(
        initial_groups(ensemble, ensemble_bins(ensemble), min(cells_max, 64)), TableBudget(10**7, 1, 1, cells_max, 20)
    )


def chain(length: int) -> Tree:
    """Return a tree that only grows to the right, with a split on a different feature at every depth."""
    tree: Tree = Leaf(0.5, 10)
    for feature in reversed(range(length)):
        tree = SplitNode(
            NumericSplit(feature, 0.0, missing_left=True), Leaf(feature + 1.0, 10), tree, 10 * (length - feature + 1)
        )
    return tree


def with_categories() -> lightgbm.Booster:
    """Return a model with categorical splits and missing values."""
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


# --- how a model is partitioned and merged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells_max", [1, 128, 1024])
@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_is_in_one_group_and_merged_groups_respect_the_cell_limit(name: str, cells_max: int) -> None:
    ensemble = read_ensemble(MODELS[name]())
    groups = merged_groups(ensemble, cells_max)

    found = Counter(path.value for group in groups for path in group.paths)
    assert found == Counter(
        value for tree in ensemble.trees if isinstance(tree, SplitNode) for value in leaf_values_of(tree)
    )
    assert all(
        group.cell_count <= max(cells_max, *(2 ** len(path.conditions) for path in group.paths)) for group in groups
    )


@pytest.mark.parametrize("name", MODELS)
def test_digits_number_the_cells_without_gaps(name: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins = ensemble_bins(ensemble)
    for group in merged_groups(ensemble):
        assert list(group.digits) == sorted(
            {condition.feature for path in group.paths for condition in path.conditions}
        )
        for feature, digits in group.digits.items():
            assert len(digits) == len(bins[feature].goes_left)
            assert set(digits.tolist()) == set(range(group.radices[feature]))
        cells = list(zip(*(part.tolist() for part in cell_digits(group).values()), strict=True))
        assert len(set(cells)) == len(cells) == group.cell_count == math.prod(group.radices.values())


@pytest.mark.parametrize("name", MODELS)
def test_classes_of_one_digit_satisfy_the_same_conditions(name: str) -> None:
    for group in merged_groups(read_ensemble(MODELS[name]())):
        for condition in (condition for path in group.paths for condition in path.conditions):
            met = set(zip(group.digits[condition.feature].tolist(), condition.satisfied.tolist(), strict=True))
            assert len(met) == group.radices[condition.feature]


@pytest.mark.parametrize("name", MODELS)
def test_a_row_satisfies_exactly_one_path_of_each_tree(name: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins = ensemble_bins(ensemble)
    rows = example_rows(60, ensemble.feature_count, seed=77, gaps=0.2)
    classes = row_classes(ensemble, bins, rows)
    for tree in ensemble.trees:
        met = np.zeros(len(rows), dtype=np.int64)
        for path in (path for group in partition_tree(tree, bins, 1024) for path in group.paths):
            met += np.all(
                [condition.satisfied[classes[condition.feature]] for condition in path.conditions]
                or [[True] * len(rows)],
                axis=0,
            )
        assert (met == 1).all()


def test_a_tree_of_8_leaves_on_few_features_is_one_group() -> None:
    ensemble = read_ensemble(example_model("missing type NaN"))
    bins = ensemble_bins(ensemble)
    trees = [tree for tree in ensemble.trees if len(leaf_values_of(tree)) == 8]

    assert trees
    assert all(len(partition_tree(tree, bins, 1024)) == 1 for tree in trees)


def test_trees_with_the_same_splits_share_a_group_without_more_cells() -> None:
    ensemble = ensemble_from(chain(6), chain(6), chain(4))

    (group,) = merged_groups(ensemble)

    assert (len(group.paths), group.cell_count) == (7 + 7 + 5, 2**6)


def test_a_tree_is_merged_with_the_group_that_grows_least() -> None:
    other = SplitNode(NumericSplit(15, 0.0, missing_left=True), Leaf(7.0, 1), Leaf(8.0, 1), 2)
    ensemble = ensemble_from(chain(7), other, chain(6))

    groups = merged_groups(ensemble, 2**7)

    assert sorted((group.cell_count, len(group.paths)) for group in groups) == [(2, 2), (2**7, 8 + 7)]


def test_a_leaf_beyond_the_cell_limit_is_a_group_by_itself() -> None:
    groups = partition_tree(chain(6), ensemble_bins(ensemble_from(chain(6))), cells_max=8)

    assert [len(group.paths) for group in groups] == [1] * 7
    assert [group.cell_count for group in groups] == [2, 4, 8, 16, 32, 64, 64]


def test_two_splits_on_one_feature_are_one_condition_of_a_path() -> None:
    inner = SplitNode(NumericSplit(0, 1.0, missing_left=False), Leaf(1.0, 1), Leaf(2.0, 3), 4)
    ensemble = ensemble_from(SplitNode(NumericSplit(0, 3.0, missing_left=True), inner, Leaf(3.0, 4), 8))

    (group,) = merged_groups(ensemble)

    assert [len(path.conditions) for path in group.paths] == [1, 1, 1]
    assert [path.conditions[0].cover for path in group.paths] == [1 / 8, 3 / 8, 1 / 2]
    assert group.cell_count == 3  # missing values have the same digit as the values in the middle


def test_a_tree_of_a_single_leaf_has_no_group() -> None:
    assert merged_groups(ensemble_from(Leaf(0.5, 10), Leaf(-0.5, 10))) == []


# --- what the tables contain ----------------------------------------------------------------------------------------------


def shapley_by_definition(row: FloatArray, other: FloatArray) -> FloatArray:
    """Return the Shapley values of the game "every condition is satisfied", by the formula over all coalitions.

    The worth of a coalition is a product over the features. The factor of a feature is `row[feature]` if the feature is
    a member of the coalition, and `other[feature]` otherwise. Factors are 1 or 0, or the cover of a condition.
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
    """Return the bits of a number as ones and zeros."""
    return np.array([number >> bit & 1 for bit in range(width)], dtype=np.float64)


@pytest.mark.parametrize("width", range(1, 10))
def test_the_signed_weights_are_the_shapley_formula_over_all_coalitions(width: int) -> None:
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


def test_the_tested_widths_are_on_both_sides_of_the_cache_limit() -> None:
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
def test_a_baseline_of_more_sets_than_one_step_is_used_completely(width: int) -> None:
    """The table equals the mean of the tables of each single baseline row."""
    baseline = np.append(np.arange(1 << width), [3, 3, 5])[-3 * BASELINE_SETS_MAX :]
    assert len(np.unique(baseline)) > (width - 7) * BASELINE_SETS_MAX

    found = interventional_table(1.5, baseline, width)

    alone = sum(interventional_table(1.5, np.array([one]), width) for one in baseline.tolist()) / len(baseline)
    np.testing.assert_allclose(found, alone, **CLOSE)


def test_the_table_of_a_wide_leaf_has_bounded_memory() -> None:
    """If one step computed 128 sets, as for narrow leaves, it would take 503 MB."""
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


def line_by_definition(group: LeafGroup, cell: int, baseline: dict[int, NDArray[np.int64]] | None) -> FloatArray:
    """Return the contributions in one cell, leaf by leaf, by the formula over all coalitions."""
    columns, total = list(group.digits), np.zeros(len(group.digits))
    for path in group.paths:
        row = np.array(
            [cell_satisfies(group, condition.feature, condition.satisfied, cell) for condition in path.conditions]
        )
        if baseline is None:
            games = [shapley_by_definition(row, np.array([condition.cover for condition in path.conditions]))]
        else:
            others = np.array(
                [condition.satisfied[baseline[condition.feature]] for condition in path.conditions], dtype=np.float64
            )
            games = [shapley_by_definition(row, other) for other in others.T]
        total[[columns.index(condition.feature) for condition in path.conditions]] += path.value * np.mean(
            games, axis=0
        )
    return total


def cell_satisfies(group: LeafGroup, feature: int, met: NDArray[np.bool_], cell: int) -> float:
    """Return 1.0 if a cell satisfies the condition `met` on a feature, else 0.0.

    The first feature has the least significant digit. All classes of a digit agree, so one of these classes is used.
    """
    for one, size in group.radices.items():
        if one == feature:
            return float(met[group.digits[feature].tolist().index(cell % size)])
        cell //= size
    raise AssertionError(feature)


@pytest.mark.parametrize("method", ["interventional", "path-dependent"])
@pytest.mark.parametrize("name", ["zeros", "categories", "features repeated on a path", "a leaf among trees"])
def test_every_line_of_a_table_is_the_shapley_formula_over_all_coalitions(name: str, method: str) -> None:
    ensemble = read_ensemble(MODELS[name]())
    bins: dict[int, FeatureBins] = ensemble_bins(ensemble)
    baseline = row_classes(ensemble, bins, example_rows(7, ensemble.feature_count, seed=78, gaps=0.2))
    against = baseline if method == "interventional" else None
    for group in merged_groups(ensemble, 256)[:3]:
        lines = contribution_table(group, against)

        assert lines.shape == (group.cell_count, len(group.digits))
        for cell in np.random.default_rng(0).integers(0, group.cell_count, 6).tolist():
            np.testing.assert_allclose(lines[cell], line_by_definition(group, cell, against), **CLOSE)
