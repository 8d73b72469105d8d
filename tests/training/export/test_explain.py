"""explain.onnx returns the Shapley values as they are defined. The base margin plus these values is the margin."""

import math
from collections.abc import Callable

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.onnx_scorer import BATCH_ROWS, Scorer
from tests.oracles import FloatArray, brute_force_shap, margins
from tests.training.export.example_models import (
    MODELS,
    edge_case_rows,
    example_model,
    example_rows,
    fit,
    threshold_rows,
)
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx
from training.export.leaf_groups import INITIAL_CELLS_MAX, partition_tree
from training.export.score import score_onnx
from training.export.trees import Ensemble, read_ensemble

EQUAL = {"rtol": 0.0, "atol": 1e-9}
WIDE = 8  # number of features; 8 features have 256 coalitions


def scorer(booster: lightgbm.Booster, baseline: FloatArray) -> Scorer:
    """Export a model to both files, and return a scorer that runs them."""
    ensemble = read_ensemble(booster)
    return Scorer(score_onnx(ensemble), explain_onnx(ensemble, baseline))


def wide(parameters: dict[str, object], *, gaps: float = 0.0, columns: int = WIDE) -> lightgbm.Booster:
    """Fit a model of many features."""
    return fit(example_rows(columns=columns, gaps=gaps), parameters, 8)


EIGHT_FEATURES: dict[str, Callable[[], lightgbm.Booster]] = {
    "missing type None": lambda: wide({}),
    "missing type NaN": lambda: wide({}, gaps=0.2),
    "zero as missing": lambda: wide({"zero_as_missing": True}),
    "zero as missing with gaps": lambda: wide({"zero_as_missing": True}, gaps=0.2),
    "trees of several groups": lambda: wide({"num_leaves": 24}, gaps=0.1),
    "long paths": lambda: wide({"num_leaves": 30, "max_depth": -1, "min_data_in_leaf": 1, "extra_trees": True}),
    "features repeated on a path": lambda: wide({"num_leaves": 24}, columns=3),
    "dart": lambda: wide({"boosting": "dart", "drop_rate": 0.5}, gaps=0.1),
    "thresholds about 1e-35": lambda: example_model("values about 1e-35"),
}


@pytest.mark.parametrize("name", EIGHT_FEATURES)
def test_contributions_are_the_shapley_values_over_all_coalitions_and_baseline_rows(name: str) -> None:
    booster = EIGHT_FEATURES[name]()
    count = booster.num_feature()
    hard = edge_case_rows(booster, example_rows(300, count, seed=77, gaps=0.1))
    rows = hard[np.random.default_rng(0).permutation(len(hard))[:24]]
    baseline = example_rows(30, count, seed=78, gaps=0.15)

    found = scorer(booster, baseline).contributions(rows)

    np.testing.assert_allclose(found, brute_force_shap(booster, rows, baseline), **EQUAL)


def test_a_baseline_on_thresholds_goes_where_lightgbm_sends_it() -> None:
    booster = EIGHT_FEATURES["zero as missing with gaps"]()
    rows = example_rows(10, WIDE, seed=77, gaps=0.1)
    hard = np.concatenate([threshold_rows(booster, rows), edge_case_rows(booster, rows)[-60:]])
    baseline = hard[np.random.default_rng(0).permutation(len(hard))[:40]]

    found = scorer(booster, baseline).contributions(rows)

    np.testing.assert_allclose(found, brute_force_shap(booster, rows, baseline), **EQUAL)


def test_a_missing_value_in_a_model_fitted_without_any_is_explained_as_0() -> None:
    booster = EIGHT_FEATURES["missing type None"]()
    rows = example_rows(20, WIDE, seed=77, gaps=0.5)
    baseline = example_rows(20, WIDE, seed=78, gaps=0.5)
    graphs = scorer(booster, baseline)

    found = graphs.contributions(rows)

    np.testing.assert_allclose(found, brute_force_shap(booster, rows, baseline), **EQUAL)
    assert np.array_equal(graphs.contributions(np.nan_to_num(rows)), found)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    gaps=st.sampled_from([0.0, 0.3]),
    leaves=st.integers(2, 20),
    zero=st.booleans(),
    baseline_rows=st.integers(1, 12),
)
def test_random_models_are_explained_by_definition(
    *, seed: int, gaps: float, leaves: int, zero: bool, baseline_rows: int
) -> None:
    booster = fit(example_rows(300, 5, seed=seed, gaps=gaps), {"num_leaves": leaves, "zero_as_missing": zero}, 4)
    hard = edge_case_rows(booster, example_rows(50, 5, seed=seed + 1, gaps=0.2), seed)
    rows = hard[np.random.default_rng(seed).permutation(len(hard))[:12]]
    baseline = example_rows(baseline_rows, 5, seed=seed + 2, gaps=gaps)

    found = scorer(booster, baseline).contributions(rows)

    np.testing.assert_allclose(found, brute_force_shap(booster, rows, baseline), **EQUAL)


@pytest.mark.parametrize("name", MODELS)
def test_contributions_and_the_mean_margin_of_the_baseline_add_up_to_the_margin(name: str) -> None:
    booster = example_model(name)
    count = booster.num_feature()
    baseline = example_rows(100, count, seed=78, gaps=0.05)
    rows = edge_case_rows(booster, example_rows(200, count, seed=77, gaps=0.05))

    found = scorer(booster, baseline).contributions(rows)

    base = math.fsum(margins(booster, baseline)) / len(baseline)
    np.testing.assert_allclose(base + found.sum(axis=1), margins(booster, rows), **EQUAL)


def test_contributions_of_the_baseline_rows_average_to_zero() -> None:
    booster = example_model("deep trees")
    baseline = example_rows(80, booster.num_feature(), seed=78, gaps=0.1)

    found = scorer(booster, baseline).contributions(baseline)

    assert abs(found.sum(axis=1).mean()) <= 1e-9


def test_a_baseline_of_one_row_gives_that_row_contributions_of_zero() -> None:
    booster, rows = wide({"num_leaves": 16}, gaps=0.1), example_rows(10, WIDE, seed=77, gaps=0.1)

    found = scorer(booster, rows[:1]).contributions(rows)

    assert np.array_equal(found[0], np.zeros(WIDE))
    np.testing.assert_allclose(found, brute_force_shap(booster, rows, rows[:1]), **EQUAL)


def with_zeroed_tables(explain: bytes) -> bytes:
    """Return explain.onnx with all values of its lookup tables set to zero."""
    file = onnx.load_from_string(explain)
    lines = next(tensor for tensor in file.graph.initializer if tensor.name == "lines")
    lines.raw_data = bytes(len(lines.raw_data))
    return file.SerializeToString(deterministic=True)


def test_the_size_of_the_baseline_changes_only_the_numbers_of_the_tables() -> None:
    ensemble = read_ensemble(example_model("deep trees"))
    one, many = (explain_onnx(ensemble, example_rows(count, seed=78)) for count in (1, 1000))

    assert one != many
    assert len(one) == len(many)
    assert with_zeroed_tables(one) == with_zeroed_tables(many)


def test_the_order_of_the_baseline_changes_no_byte() -> None:
    ensemble, baseline = read_ensemble(example_model("deep trees")), example_rows(100, seed=78)

    assert explain_onnx(ensemble, baseline) == explain_onnx(ensemble, baseline[::-1])


def test_exporting_does_not_change_the_baseline_array() -> None:
    ensemble, baseline = read_ensemble(example_model("missing type Zero")), example_rows(100, seed=78)
    before = baseline.copy()

    explain_onnx(ensemble, baseline)

    assert np.array_equal(baseline, before)


@pytest.mark.parametrize("name", ["missing type Zero with gaps", "deep trees", "a constant"])
def test_one_row_has_the_contributions_that_it_has_among_many(name: str) -> None:
    booster = example_model(name)
    graphs = scorer(booster, example_rows(50, booster.num_feature(), seed=78))
    rows = edge_case_rows(booster, example_rows(300, booster.num_feature(), seed=77))
    assert len(rows) > 2 * BATCH_ROWS

    together = graphs.contributions(rows)

    assert np.array_equal(np.concatenate([graphs.contributions(row[None]) for row in rows]), together)
    assert graphs.contributions(rows[:0]).shape == (0, booster.num_feature())


def test_a_feature_without_splits_contributes_exactly_0() -> None:
    booster = example_model("unused features")
    unused = np.flatnonzero(booster.feature_importance() == 0)
    rows = edge_case_rows(booster, example_rows(300, booster.num_feature(), seed=77, gaps=0.2))
    baseline = example_rows(50, booster.num_feature(), seed=78)

    found = scorer(booster, baseline).contributions(rows)

    assert len(unused) >= 4
    assert np.array_equal(found[:, unused], np.zeros((len(rows), len(unused))))


def test_a_constant_model_has_contributions_of_zero() -> None:
    booster = example_model("a constant")

    found = scorer(booster, example_rows(5)).contributions(example_rows(20, seed=77))

    assert np.array_equal(found, np.zeros((20, booster.num_feature())))


def test_the_same_model_and_baseline_give_the_same_bytes_twice() -> None:
    baseline = example_rows(100, seed=78, gaps=0.1)
    first, second = fit(example_rows(gaps=0.1), {"num_leaves": 16}), fit(example_rows(gaps=0.1), {"num_leaves": 16})
    read_back = lightgbm.Booster(model_str=first.model_to_string())

    files = {explain_onnx(read_ensemble(booster), baseline) for booster in (first, second, read_back)}

    assert len(files) == 1


def group_counts(ensemble: Ensemble) -> list[int]:
    """Return the number of initial leaf groups of each tree."""
    bins = ensemble_bins(ensemble)
    return [len(partition_tree(tree, bins, INITIAL_CELLS_MAX)) for tree in ensemble.trees]


def test_the_example_models_have_trees_of_one_group_and_of_several() -> None:
    assert min(group_counts(read_ensemble(EIGHT_FEATURES["missing type NaN"]()))) == 1
    assert max(group_counts(read_ensemble(EIGHT_FEATURES["trees of several groups"]()))) > 1
    assert max(group_counts(read_ensemble(EIGHT_FEATURES["long paths"]()))) > 2
