"""Values share a class if and only if no split separates them, and a class goes to the same side as in LightGBM."""

import itertools
import math

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles import FloatArray, margins
from tests.training.export.example_models import MODELS, ZERO_MAX, example_model, example_rows, fit
from tests.training.export.example_models import edge_case_rows as edge_case_numbers
from tests.training.export.random_models import (
    MANY_LEVELS,
    ODD_CODES,
    ModelRecipe,
    draw_recipe,
    edge_case_rows,
    fit_recipe,
)
from training.export.bins import FeatureBins, ensemble_bins, row_classes
from training.export.trees import (
    CategoricalSplit,
    Ensemble,
    Leaf,
    NumericSplit,
    Split,
    SplitNode,
    Tree,
    read_ensemble,
    tree_splits,
)

TINY = (5e-324, -5e-324, 1e-36, ZERO_MAX, -ZERO_MAX, math.nextafter(ZERO_MAX, 1.0), math.nextafter(-ZERO_MAX, -1.0))
THRESHOLDS = (-math.inf, -1e300, -2.5, *TINY, 1.0, 2.0**53, 1.7e308, math.inf)
CODES = (0, 1, 2, 3, 7, 40, 2**31 - 2, 2**31 - 1)
numeric_splits = st.lists(
    st.builds(NumericSplit, st.just(0), st.sampled_from(THRESHOLDS), missing_left=st.booleans()),
    min_size=1,
    max_size=7,
    unique=True,
)
categorical_splits = st.lists(
    st.builds(CategoricalSplit, st.just(0), st.frozensets(st.sampled_from(CODES), min_size=1)),
    min_size=1,
    max_size=5,
    unique=True,
)


def distinct_numbers() -> list[float]:
    """Return a value of every interval between THRESHOLDS, and NaN."""
    beside = [(math.nextafter(t, -math.inf), t, math.nextafter(t, math.inf)) for t in THRESHOLDS]
    return [*itertools.chain.from_iterable(beside), 0.0, -0.0, math.nan]


def distinct_codes() -> list[float]:
    """Return CODES, fractions above these codes, their neighbouring codes, and values without a code."""
    return [*ODD_CODES, *(float(code) + part for code in CODES for part in (0.0, 0.5, 1.0, 2.0))]


def goes_left_by_definition(split: Split, value: float) -> bool:
    """Return whether a value goes left, by the docstrings of `trees.NumericSplit` and `trees.CategoricalSplit`."""
    if isinstance(split, NumericSplit):
        return split.missing_left if math.isnan(value) else value <= split.threshold
    return not math.isnan(value) and -1.0 < value <= 2**31 - 1 and int(value) in split.codes


def assert_classes_match(bins: FeatureBins, splits: list[Split], values: list[float]) -> None:
    """Assert that two values share a class if and only if they go to the same side at every split."""
    answers = [tuple(goes_left_by_definition(split, value) for split in splits) for value in values]
    classes = bins.classify(np.array(values)).tolist()

    assert [tuple(bins.goes_left[one].tolist()) for one in classes] == answers
    assert len(set(zip(classes, answers, strict=True))) == len(set(classes)) == len(set(answers))
    assert len(np.unique(bins.goes_left, axis=0)) == len(bins.goes_left)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(splits=numeric_splits)
def test_two_numbers_share_a_class_exactly_if_no_split_separates_them(splits: list[Split]) -> None:
    assert_classes_match(FeatureBins.from_splits(0, tuple(splits)), list(splits), distinct_numbers())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(splits=categorical_splits)
def test_two_codes_share_a_class_exactly_if_they_are_in_the_same_sets(splits: list[CategoricalSplit]) -> None:
    assert_classes_match(FeatureBins.from_splits(0, tuple(splits)), list(splits), distinct_codes())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(splits=st.one_of(numeric_splits, categorical_splits))
def test_edges_separate_different_classes_and_every_class_has_an_interval(splits: list[Split]) -> None:
    bins = FeatureBins.from_splits(0, tuple(splits))

    assert (np.diff(bins.edges) > 0.0).all()
    assert (bins.classes[1:] != bins.classes[:-1]).all()
    assert {*bins.classes.tolist(), bins.missing_class} == set(range(len(bins.goes_left)))


def test_missing_shares_the_class_of_an_interval_that_takes_the_same_sides() -> None:
    bins = FeatureBins.from_splits(
        0, (NumericSplit(0, 1.0, missing_left=False), NumericSplit(0, 3.0, missing_left=True))
    )

    low, middle, high, missing = bins.classify(np.array([1.0, 3.0, 3.1, math.nan])).tolist()

    assert len({low, middle, high}) == 3
    assert missing == middle == bins.missing_class


def test_missing_has_its_own_class_if_no_interval_takes_the_same_sides() -> None:
    bins = FeatureBins.from_splits(
        0, (NumericSplit(0, 1.0, missing_left=True), NumericSplit(0, 3.0, missing_left=False))
    )

    assert bins.missing_class not in bins.classes
    assert bins.goes_left[bins.missing_class].tolist() == [True, False]
    assert len(bins.goes_left) == 4


def test_an_infinite_threshold_leaves_one_interval() -> None:
    bins = FeatureBins.from_splits(4, (NumericSplit(4, math.inf, missing_left=False),))

    assert (len(bins.edges), len(bins.classes), len(bins.goes_left)) == (0, 1, 2)
    assert bins.classify(np.array([-math.inf, 0.0, math.inf])).tolist() == [bins.classes[0]] * 3
    assert bins.missing_class != bins.classes[0]


def test_a_split_that_separates_nothing_has_one_class() -> None:
    bins = FeatureBins.from_splits(0, (NumericSplit(0, math.inf, missing_left=True),))

    assert (len(bins.edges), len(bins.goes_left), bins.missing_class) == (0, 1, 0)


def test_neighbouring_codes_of_one_set_have_no_edge_between_them() -> None:
    bins = FeatureBins.from_splits(0, (CategoricalSplit(0, frozenset(range(100, 1100))),))

    assert len(bins.edges) == 2
    assert bins.classify(np.array([100.0, 1099.9])).tolist() == [bins.classes[1]] * 2
    assert bins.classify(np.array([99.9, 1100.0, math.nan, -1.0, 1e12])).tolist() == [bins.missing_class] * 5


def test_code_0_differs_from_no_code() -> None:
    bins = FeatureBins.from_splits(0, (CategoricalSplit(0, frozenset({0})),))

    zero = bins.classify(np.array([0.0, -0.0, 0.9, -0.9, 5e-324]))
    none = bins.classify(np.array([-1.0, 1.0, math.nan, math.inf, -math.inf, 2.0**31]))

    assert set(zero.tolist()) == {1 - bins.missing_class}
    assert set(none.tolist()) == {bins.missing_class}


def test_codes_of_2000_levels_go_where_their_sets_say() -> None:
    random = np.random.default_rng(0)
    sets = [frozenset(random.choice(MANY_LEVELS, size, replace=False).tolist()) for size in (1, 30, 400, 1000, 1999)]
    splits = [CategoricalSplit(0, codes) for codes in sets]
    values = [*np.arange(MANY_LEVELS + 5).astype(float).tolist(), *ODD_CODES]

    assert_classes_match(FeatureBins.from_splits(0, tuple(splits)), list(splits), values)


# --- whole models: the classes of a row determine its leaf in every tree -------------------------------


def leaf_values(
    tree: Tree, bins: dict[int, FeatureBins], classes: dict[int, NDArray[np.int64]], among: NDArray[np.bool_]
) -> FloatArray:
    """Return the value of each row's leaf, which only the classes determine; 0 for rows where `among` is false."""
    if isinstance(tree, Leaf):
        return np.where(among, tree.value, 0.0)
    found = bins[tree.split.feature]
    left = found.goes_left[classes[tree.split.feature], found.splits.index(tree.split)]
    sides = (leaf_values(side, bins, classes, among & way) for side, way in ((tree.left, left), (tree.right, ~left)))
    return np.where(left, *sides)


def margins_by_classes(ensemble: Ensemble, rows: FloatArray) -> FloatArray:
    """Return the margins computed from the classes of rows only, summed in the order of the trees."""
    bins = ensemble_bins(ensemble)
    classes = row_classes(ensemble, bins, rows)
    total = np.zeros(len(rows))
    for tree in ensemble.trees:
        total += leaf_values(tree, bins, classes, np.ones(len(rows), dtype=np.bool_))
    return total


def agrees_with_lightgbm(booster: lightgbm.Booster, rows: FloatArray) -> bool:
    """Return whether the margins computed from classes equal the margins of LightGBM."""
    return np.array_equal(margins_by_classes(read_ensemble(booster), rows), margins(booster, rows))


@pytest.mark.parametrize("name", MODELS)
def test_the_classes_of_a_row_determine_its_margin(name: str) -> None:
    booster = example_model(name)
    rows = edge_case_numbers(booster, example_rows(300, booster.num_feature(), seed=77, gaps=0.05))

    assert agrees_with_lightgbm(booster, rows)


def split_column_kinds(recipe: ModelRecipe, booster: lightgbm.Booster) -> set[str]:
    """Return the kinds of the columns that the model splits on."""
    return {recipe.kinds[split.feature] for tree in read_ensemble(booster).trees for split in tree_splits(tree)}


@pytest.mark.parametrize("kind", ["few categories", "scattered categories", "many categories"])
def test_the_classes_of_codes_determine_the_margin(kind: str) -> None:
    recipe, booster = next(
        (recipe, booster)
        for recipe in map(draw_recipe, range(500))
        if kind in recipe.kinds and recipe.training_mode == "plain"
        if split_column_kinds(recipe, booster := fit_recipe(recipe)) >= {kind}
    )

    assert agrees_with_lightgbm(booster, edge_case_rows(recipe, booster))


def test_zeros_have_the_class_of_missing_only_in_a_zero_as_missing_column() -> None:
    split = {column: NumericSplit(column, 1.0, missing_left=False) for column in (0, 1)}
    trees = tuple(SplitNode(split[column], Leaf(1.0), Leaf(2.0)) for column in (0, 1))
    ensemble = Ensemble(trees, 2, zero_as_missing=frozenset({1}), categorical=frozenset())
    zeros = np.array([0.0, -0.0, 5e-324, -1e-36, ZERO_MAX, -ZERO_MAX])
    bins = ensemble_bins(ensemble)

    classes = row_classes(ensemble, bins, np.column_stack([zeros, zeros]))

    assert (classes[1] == bins[1].missing_class).all()
    assert (classes[0] != bins[0].missing_class).all()
    beside = np.full((1, 2), math.nextafter(ZERO_MAX, 1.0))
    assert row_classes(ensemble, bins, beside)[1] != bins[1].missing_class


def test_only_features_with_splits_have_classes_in_column_order() -> None:
    booster = fit(example_rows(columns=12), {"num_leaves": 3}, 3)
    used = np.flatnonzero(booster.feature_importance()).tolist()
    ensemble = read_ensemble(booster)
    rows = example_rows(20, 12, seed=77)
    before = rows.copy()

    classes = row_classes(ensemble, ensemble_bins(ensemble), rows)

    assert list(classes) == used
    assert all(len(found) == 20 for found in classes.values())
    assert np.array_equal(rows, before)
