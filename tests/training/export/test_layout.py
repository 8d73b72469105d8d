"""All layouts have equal contributions. The fastest layout that fits is chosen, and none for a model that is too large."""

import dataclasses
from functools import cache

import lightgbm
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.onnx_scorer import BATCH_ROWS, Scorer
from tests.oracles import FloatArray, margins
from tests.training.export.example_models import edge_case_rows, example_model, example_rows, fit
from training.equivalence.reference import interventional_shap
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx
from training.export.layout import (
    DENSE_NUMBERS_MAX,
    EXPLAIN_BYTES_MAX,
    TABLES_BYTES_MAX,
    TableLayout,
    build_layout,
    choose_layout,
)
from training.export.leaf_groups import initial_groups
from training.export.score import score_onnx
from training.export.trees import read_ensemble

EQUAL = {"rtol": 0.0, "atol": 1e-12}
COLUMNS = 30
WIDE = 400
# Each layout has a maximum size of the tables for merging, and states whether lines are sparse.
LAYOUTS = ((TABLES_BYTES_MAX, False), (0, False), (TABLES_BYTES_MAX, True), (0, True))


@cache
def small_trees() -> lightgbm.Booster:
    """Return a model of small trees over many features."""
    return fit(example_rows(600, COLUMNS, gaps=0.05), {"num_leaves": 3}, 30)


@cache
def layouts_of_model(name: str) -> tuple[TableLayout, ...]:
    """Return every layout of a model."""
    ensemble = read_ensemble(named_booster(name))
    bins = ensemble_bins(ensemble)
    groups = initial_groups(ensemble, bins)
    return tuple(build_layout(ensemble, bins, groups, bytes_max, sparse=sparse) for bytes_max, sparse in LAYOUTS)


def named_booster(name: str) -> lightgbm.Booster:
    """Return one of the models of these tests."""
    return small_trees() if name == "small trees" else example_model(name)


@cache
def explanation(name: str, layout_number: int, *, path_dependent: bool = False) -> bytes:
    """Return explain.onnx of a model in one of LAYOUTS."""
    ensemble = read_ensemble(named_booster(name))
    baseline = None if path_dependent else example_rows(60, ensemble.feature_count, seed=78, gaps=0.1)
    return explain_onnx(ensemble, baseline, layout=layouts_of_model(name)[layout_number])


def open_scorer(name: str, layout_number: int, *, path_dependent: bool = False) -> Scorer:
    """Open a model with its explanation in one of LAYOUTS."""
    return Scorer(
        score_onnx(read_ensemble(named_booster(name))), explanation(name, layout_number, path_dependent=path_dependent)
    )


def rows_for(name: str) -> FloatArray:
    """Return rows for a model, including edge cases; they are more than one batch."""
    rows = edge_case_rows(named_booster(name), example_rows(100, named_booster(name).num_feature(), seed=77, gaps=0.05))
    return rows[np.random.default_rng(0).permutation(len(rows))[: 3 * BATCH_ROWS + 5]]


def tables_shape(explain: bytes) -> tuple[int, ...]:
    """Return the shape of the lookup tables in a file."""
    file = onnx.load_from_string(explain)
    lines = next(tensor for tensor in file.graph.initializer if tensor.name == "lines")
    return numpy_helper.to_array(lines).shape


NAMES = ["small trees", "deep trees", "missing type Zero with gaps", "a leaf among trees"]


@pytest.mark.parametrize("path_dependent", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_all_layouts_give_the_same_contributions_and_margins(name: str, *, path_dependent: bool) -> None:
    rows, first = rows_for(name), open_scorer(name, 0, path_dependent=path_dependent)
    numbers = range(len(LAYOUTS))
    shapes = {tables_shape(explanation(name, number, path_dependent=path_dependent)) for number in numbers}
    assert len(shapes) > 2

    expected = first.contributions(rows)
    for layout_number in range(1, len(LAYOUTS)):
        margin, found = open_scorer(name, layout_number, path_dependent=path_dependent).explain(rows)

        np.testing.assert_allclose(found, expected, **EQUAL)
        assert np.array_equal(margin, margins(named_booster(name), rows))


@pytest.mark.parametrize("layout_number", range(len(LAYOUTS)))
@pytest.mark.parametrize("name", NAMES)
def test_sparse_and_dense_lines_of_the_same_groups_are_equal_to_the_bit(name: str, layout_number: int) -> None:
    ensemble, rows, layout = read_ensemble(named_booster(name)), rows_for(name), layouts_of_model(name)[layout_number]
    baseline = example_rows(60, ensemble.feature_count, seed=78, gaps=0.1)
    other = explain_onnx(ensemble, baseline, layout=dataclasses.replace(layout, sparse=not layout.sparse))

    found = Scorer(score_onnx(ensemble), other).contributions(rows)

    assert np.array_equal(found, open_scorer(name, layout_number).contributions(rows))


@pytest.mark.parametrize("layout_number", range(len(LAYOUTS)))
def test_a_row_has_the_same_contributions_alone_and_in_a_batch_in_every_layout(layout_number: int) -> None:
    rows, graphs = rows_for("small trees"), open_scorer("small trees", layout_number)

    margin, together = graphs.explain(rows)

    alone = [graphs.explain(row[None]) for row in rows]
    assert np.array_equal(np.concatenate([found for _, found in alone]), together)
    assert np.array_equal(np.concatenate([one for one, _ in alone]), margin)


def test_a_constant_model_has_one_empty_group_and_dense_lines() -> None:
    ensemble = read_ensemble(example_model("a constant"))

    layout = choose_layout(ensemble, ensemble_bins(ensemble))

    assert layout is not None
    assert not layout.sparse
    assert [group.paths for group in layout.groups] == [()]


def test_the_size_of_a_layout_is_that_of_the_tables_in_its_file() -> None:
    for layout_number, layout in enumerate(layouts_of_model("small trees")):
        tensors = onnx.load_from_string(explanation("small trees", layout_number)).graph.initializer
        sizes = {tensor.name: len(tensor.raw_data) for tensor in tensors}

        assert layout.size == sizes["lines"] + sizes["steps"]


def test_dense_lines_are_preferred_then_sparse_ones_and_a_limit_below_both_leaves_no_layout() -> None:
    ensemble = read_ensemble(small_trees())
    bins, (_, dense, _, sparse) = ensemble_bins(ensemble), layouts_of_model("small trees")
    assert sparse.size < dense.size
    for bytes_max in (TABLES_BYTES_MAX, dense.size + 1, dense.size, dense.size - 1, sparse.size + 1, sparse.size):
        layout = choose_layout(ensemble, bins, bytes_max)

        assert layout is not None
        assert layout.sparse == (bytes_max < dense.size)
        assert layout.size <= bytes_max
    assert choose_layout(ensemble, bins, sparse.size - 1) is None


def test_groups_are_merged_up_to_the_size_of_the_tables() -> None:
    merged, unmerged, *_ = layouts_of_model("small trees")

    assert len(merged.groups) < len(unmerged.groups)
    assert unmerged.size < merged.size <= TABLES_BYTES_MAX < EXPLAIN_BYTES_MAX


def test_sparse_lines_are_chosen_if_a_row_would_read_too_many_numbers_of_dense_lines() -> None:
    ensemble = read_ensemble(fit(example_rows(600, WIDE, gaps=0.05), {"feature_fraction": 0.3}, 60))
    bins = ensemble_bins(ensemble)
    dense = build_layout(ensemble, bins, initial_groups(ensemble, bins), TABLES_BYTES_MAX, sparse=False)

    layout = choose_layout(ensemble, bins)

    assert dense.size <= TABLES_BYTES_MAX
    assert len(dense.groups) * WIDE > DENSE_NUMBERS_MAX
    assert layout is not None
    assert layout.sparse


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
