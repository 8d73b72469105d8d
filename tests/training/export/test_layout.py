"""Every form of an explanation says the same; the fastest that fits is taken; what fits in none is refused with a way out."""

import dataclasses
import re
from functools import cache

import lightgbm
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.scoring import BATCH_ROWS, Scorer
from tests.oracles import FloatArray, margins
from tests.training.export.example_models import edge_case_rows, example_model, example_rows, fit
from training.equivalence.reference import interventional_shap
from training.errors import ModelRejected
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx
from training.export.layout import (
    DENSE_NUMBERS_MAX,
    EXPLAIN_BYTES_MAX,
    TABLES_BYTES_MAX,
    TableLayout,
    build_layout,
    choose_layout,
    tree_depth,
    truncate_tree,
)
from training.export.leaf_groups import initial_groups
from training.export.score import score_onnx
from training.export.trees import Ensemble, read_ensemble

EQUAL = {"rtol": 0.0, "atol": 1e-12}
COLUMNS = 30
WIDE = 400
FORMS = ((TABLES_BYTES_MAX, False), (0, False), (TABLES_BYTES_MAX, True), (0, True))  # joined up to so much, narrow


@cache
def small_trees() -> lightgbm.Booster:
    """Give a model of small trees over many features."""
    return fit(example_rows(600, COLUMNS, gaps=0.05), {"num_leaves": 3}, 30)


@cache
def plans(name: str) -> tuple[TableLayout, ...]:
    """Plan every form of a model."""
    ensemble = read_ensemble(booster_of(name))
    bins = ensemble_bins(ensemble)
    pieces = initial_groups(ensemble, bins)
    return tuple(build_layout(ensemble, bins, pieces, bytes_max, sparse=sparse) for bytes_max, sparse in FORMS)


def booster_of(name: str) -> lightgbm.Booster:
    """Give one of the models of these tests."""
    return small_trees() if name == "small trees" else example_model(name)


@cache
def in_form(name: str, form: int, *, path_dependent: bool = False) -> bytes:
    """Explain a model in one of FORMS."""
    ensemble = read_ensemble(booster_of(name))
    baseline = None if path_dependent else example_rows(60, ensemble.feature_count, seed=78, gaps=0.1)
    return explain_onnx(ensemble, baseline, layout=plans(name)[form])


def opened(name: str, form: int, *, path_dependent: bool = False) -> Scorer:
    """Open a model with its explanation in one of FORMS."""
    return Scorer(score_onnx(read_ensemble(booster_of(name))), in_form(name, form, path_dependent=path_dependent))


def rows_for(name: str) -> FloatArray:
    """Give rows for a model, some of them hard; more than a batch."""
    rows = edge_case_rows(booster_of(name), example_rows(100, booster_of(name).num_feature(), seed=77, gaps=0.05))
    return rows[np.random.default_rng(0).permutation(len(rows))[: 3 * BATCH_ROWS + 5]]


def shape_of_lines(explain: bytes) -> tuple[int, ...]:
    """Give the shape of the table inside a file."""
    file = onnx.load_from_string(explain)
    lines = next(tensor for tensor in file.graph.initializer if tensor.name == "lines")
    return numpy_helper.to_array(lines).shape


NAMES = ["small trees", "deep trees", "missing type Zero with gaps", "a leaf among trees"]


@pytest.mark.parametrize("path_dependent", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_form_gives_the_same_contributions_and_margins(name: str, *, path_dependent: bool) -> None:
    rows, first = rows_for(name), opened(name, 0, path_dependent=path_dependent)
    assert len({shape_of_lines(in_form(name, form, path_dependent=path_dependent)) for form in range(len(FORMS))}) > 2

    expected = first.contributions(rows)
    for form in range(1, len(FORMS)):
        margin, found = opened(name, form, path_dependent=path_dependent).explain(rows)

        np.testing.assert_allclose(found, expected, **EQUAL)
        assert np.array_equal(margin, margins(booster_of(name), rows))


@pytest.mark.parametrize("form", range(len(FORMS)))
@pytest.mark.parametrize("name", NAMES)
def test_narrow_and_dense_lines_of_the_same_units_are_equal_to_the_bit(name: str, form: int) -> None:
    ensemble, rows, plan = read_ensemble(booster_of(name)), rows_for(name), plans(name)[form]
    baseline = example_rows(60, ensemble.feature_count, seed=78, gaps=0.1)
    other = explain_onnx(ensemble, baseline, layout=dataclasses.replace(plan, sparse=not plan.sparse))

    found = Scorer(score_onnx(ensemble), other).contributions(rows)

    assert np.array_equal(found, opened(name, form).contributions(rows))


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_one_row_has_the_contributions_that_it_has_among_many_in_every_form(form: int) -> None:
    rows, graphs = rows_for("small trees"), opened("small trees", form)

    margin, together = graphs.explain(rows)

    alone = [graphs.explain(row[None]) for row in rows]
    assert np.array_equal(np.concatenate([found for _, found in alone]), together)
    assert np.array_equal(np.concatenate([one for one, _ in alone]), margin)


def test_a_constant_is_explained_with_nothing_in_every_form_that_it_may_take() -> None:
    ensemble = read_ensemble(example_model("a constant"))

    plan = choose_layout(ensemble, ensemble_bins(ensemble))

    assert not plan.sparse
    assert [unit.paths for unit in plan.groups] == [()]


def test_the_size_of_a_plan_is_that_of_the_tables_in_its_file() -> None:
    for form, plan in enumerate(plans("small trees")):
        tensors = onnx.load_from_string(in_form("small trees", form)).graph.initializer
        sizes = {tensor.name: len(tensor.raw_data) for tensor in tensors}

        assert plan.size == sizes["lines"] + sizes["steps"]


def test_dense_lines_are_taken_where_they_fit_then_narrow_ones_and_what_is_smaller_than_both_is_refused() -> None:
    ensemble = read_ensemble(small_trees())
    bins, (_, dense, _, narrow) = ensemble_bins(ensemble), plans("small trees")
    assert narrow.size < dense.size
    for bytes_max in (TABLES_BYTES_MAX, dense.size + 1, dense.size, dense.size - 1, narrow.size + 1, narrow.size):
        plan = choose_layout(ensemble, bins, bytes_max)

        assert plan.sparse == (bytes_max < dense.size)
        assert plan.size <= bytes_max
    with pytest.raises(ModelRejected):
        choose_layout(ensemble, bins, narrow.size - 1)


def test_units_are_joined_up_to_what_tables_may_take_and_the_explanation_may_take_more() -> None:
    joined, apart, *_ = plans("small trees")

    assert len(joined.groups) < len(apart.groups)
    assert apart.size < joined.size <= TABLES_BYTES_MAX < EXPLAIN_BYTES_MAX


def test_narrow_lines_are_taken_where_a_row_would_read_too_many_numbers_of_dense_ones() -> None:
    ensemble = read_ensemble(fit(example_rows(600, WIDE, gaps=0.05), {"feature_fraction": 0.3}, 60))
    bins = ensemble_bins(ensemble)
    dense = build_layout(ensemble, bins, initial_groups(ensemble, bins), TABLES_BYTES_MAX, sparse=False)

    plan = choose_layout(ensemble, bins)

    assert dense.size <= TABLES_BYTES_MAX
    assert len(dense.groups) * WIDE > DENSE_NUMBERS_MAX
    assert plan.sparse


def test_a_model_of_400_features_and_100_trees_is_exported_within_the_limit_and_exactly() -> None:
    known = example_rows(600, WIDE, gaps=0.05)
    booster = fit(known, {"num_leaves": 8, "feature_fraction": 0.3}, 100)
    ensemble, baseline = read_ensemble(booster), example_rows(50, WIDE, seed=78, gaps=0.05)

    explain = explain_onnx(ensemble, baseline)

    assert len(ensemble.trees) == 100
    assert len(explain) <= EXPLAIN_BYTES_MAX
    rows = example_rows(70, WIDE, seed=77, gaps=0.1)
    margin, found = Scorer(score_onnx(ensemble), explain).explain(rows)
    assert np.array_equal(margin, margins(booster, rows))
    np.testing.assert_allclose(found, interventional_shap(booster, rows, baseline), rtol=0.0, atol=1e-9)


# --- too large -----------------------------------------------------------------------------------------------------

LITTLE = 60_000


def fitted_deep(max_depth: int = -1, seed: int = 0) -> Ensemble:
    """Fit trees of 16 leaves, deep ones unless told otherwise."""
    rows = example_rows(500, 16, seed=seed, gaps=0.05)
    return read_ensemble(fit(rows, {"num_leaves": 16, "max_depth": max_depth}, 6))


@cache
def deep() -> Ensemble:
    """Give a model of deep trees."""
    return fitted_deep()


@cache
def refusal() -> str:
    """Give what is said when it may take LITTLE."""
    with pytest.raises(ModelRejected) as refused:
        choose_layout(deep(), ensemble_bins(deep()), LITTLE)
    return str(refused.value)


def test_a_model_that_is_too_large_is_refused_and_its_deepest_trees_are_named() -> None:
    named = [(int(tree), int(depth)) for tree, depth in re.findall(r"(\d+) \(depth (\d+)\)", refusal())]
    depths = [tree_depth(tree) for tree in deep().trees]

    assert f"of {len(depths)}" in refusal()
    assert len(named) == 5
    assert all(depths[tree] == depth for tree, depth in named)
    assert sorted((depth for _, depth in named), reverse=True) == sorted(depths, reverse=True)[:5]


def depth_named(ensemble: Ensemble) -> int:
    """Give the depth that a model's refusal names."""
    with pytest.raises(
        ModelRejected, match=r"the same trees cut at depth (\d+) would fit: fit with max_depth=\1"
    ) as refused:
        choose_layout(ensemble, ensemble_bins(ensemble), LITTLE)
    return int(str(refused.value).partition("max_depth=")[2].partition(",")[0])


def test_the_trees_cut_at_the_depth_that_a_refusal_names_fit() -> None:
    depth = depth_named(deep())
    shallow = dataclasses.replace(deep(), trees=tuple(truncate_tree(tree, depth) for tree in deep().trees))

    assert choose_layout(shallow, ensemble_bins(shallow), LITTLE).size <= LITTLE


@pytest.mark.parametrize("seed", range(4))
def test_a_model_fitted_anew_with_the_depth_that_its_refusal_names_fits(seed: int) -> None:
    depth = depth_named(fitted_deep(seed=seed))

    again = fitted_deep(depth, seed)

    assert max(tree_depth(tree) for tree in again.trees) <= depth
    assert choose_layout(again, ensemble_bins(again), LITTLE).size <= LITTLE


def test_trees_cut_at_a_depth_have_no_longer_path_and_the_same_questions_above() -> None:
    for tree in deep().trees:
        for depth in range(tree_depth(tree)):
            assert tree_depth(truncate_tree(tree, depth)) == depth
        assert truncate_tree(tree, tree_depth(tree)) == tree


def test_where_no_depth_would_fit_fewer_trees_are_asked_for() -> None:
    with pytest.raises(ModelRejected, match="fit fewer trees, or with fewer leaves or iterations"):
        choose_layout(deep(), ensemble_bins(deep()), 100)
