"""The equivalence check finds every planted fault of an export and shows a counterexample."""

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from models.bundle_documents import Grade, Scorecard
from models.explained_score import ExplainedScore, build_explained_score
from models.onnx_scorer import Scorer
from tests.oracles import FloatArray, brute_force_shap, margins
from training.equivalence.check import (
    EquivalenceReport,
    ExportedModel,
    ExportMismatch,
    RowLimits,
    check_answers,
    check_equivalence,
    check_scores,
)
from training.equivalence.probes import sample_rows
from training.equivalence.reference import interventional_shap, path_dependent_shap
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx, leafwise_onnx
from training.export.score import score_onnx
from training.export.trees import CategoricalSplit, Ensemble, Leaf, NumericSplit, Split, SplitNode, Tree, read_ensemble

RANDOM_ROWS = 3000
KINDS = ("data", "threshold", "leaf", "edge of a leaf", "odd value", "missing", "random")
COLUMNS = 6


def example_rows(count: int, seed: int) -> FloatArray:
    """Return rows with missing values; the columns are large integers equal in float32, categories, and numbers."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, COLUMNS))
    rows[:, 0] = np.round(1.7e9 + 40.0 * rows[:, 0])
    rows[:, 2] = random.integers(0, 12, count)
    rows[:, 3] = random.integers(0, 4, count)
    rows[random.random(rows.shape) < 0.05] = np.nan
    return rows


@cache
def booster() -> lightgbm.Booster:
    """Return a model with numeric and categorical splits."""
    rows = example_rows(1500, 0)
    clean = np.nan_to_num(rows)
    signal = (clean[:, 0] - 1.7e9) / 40 + np.sin(clean[:, 2]) + clean[:, 4] * clean[:, 5]
    labels = (signal + np.random.default_rng(1).normal(size=len(rows)) > 0).astype(int)
    parameters = {
        "objective": "binary",
        "num_leaves": 7,
        "min_data_in_leaf": 10,
        "min_data_per_group": 5,
        "cat_smooth": 1,
    }
    settings = parameters | {"num_threads": 1, "verbose": -1, "seed": 0}
    return lightgbm.train(settings, lightgbm.Dataset(rows, labels, categorical_feature=[2, 3]), 12)


def exported_model(
    score: Ensemble | None = None,
    explained: Ensemble | None = None,
    *,
    baseline: FloatArray | None = None,
    claimed: FloatArray | None = None,
) -> ExportedModel:
    """Return an exported model, by default without faults; the check's references use the baseline `claimed`."""
    right = read_ensemble(booster())
    population = example_rows(100, 5) if baseline is None else baseline
    reference = population if claimed is None else claimed
    base = math.fsum(margins(booster(), reference)) / len(reference)
    return ExportedModel(
        booster(), score_onnx(score or right), explain_onnx(explained or right, population), reference, base
    )


def path_dependent_model(explained: Ensemble | None = None) -> ExportedModel:
    """Return an exported model with a path-dependent explanation."""
    right = read_ensemble(booster())
    base = path_dependent_shap(booster(), example_rows(1, 0))[1]
    return ExportedModel(booster(), score_onnx(right), explain_onnx(explained or right, None), None, base)


def run_check(examined: ExportedModel) -> EquivalenceReport:
    """Check a model with real rows and with only few random rows."""
    return check_equivalence(examined, example_rows(500, 9), RANDOM_ROWS)


def with_first_changed(wanted: type[Any], change: Callable[[Any], Any]) -> Ensemble:
    """Return the model with one change, to the first split, leaf or node of the wanted type."""
    done = [False]

    def visit(tree: Tree) -> Tree:
        if isinstance(tree, Leaf):
            return put(tree) if wanted is Leaf else tree
        split: Split = put(tree.split) if wanted is type(tree.split) else tree.split
        node = dataclasses.replace(tree, split=split, left=visit(tree.left), right=visit(tree.right))
        return put(node) if wanted is SplitNode else node

    def put(part: Any) -> Any:
        if done[0]:
            return part
        done[0] = True
        return change(part)

    right = read_ensemble(booster())
    return dataclasses.replace(right, trees=tuple(visit(tree) for tree in right.trees))


def threshold_moved_up(split: NumericSplit) -> NumericSplit:
    """Return the split with its threshold moved up by one unit in the last place."""
    return dataclasses.replace(split, threshold=math.nextafter(split.threshold, math.inf))


def default_flipped(split: NumericSplit) -> NumericSplit:
    """Return the split with the opposite direction for missing values."""
    return dataclasses.replace(split, missing_left=not split.missing_left)


def category_removed(split: CategoricalSplit) -> CategoricalSplit:
    """Return the split with one category moved to the other side."""
    return dataclasses.replace(split, codes=split.codes - {min(split.codes)})


def with_margin_of(explain: bytes, other: bytes) -> bytes:
    """Return `explain` with the nodes that compute its margin replaced by the margin nodes of `other`."""
    file, source = onnx.load_from_string(explain), onnx.load_from_string(other)
    kept = [node for node in file.graph.node if "margin" not in node.output]
    margin = [node for node in source.graph.node if "margin" in node.output]
    del file.graph.node[:]
    file.graph.node.extend(kept + margin)
    return bytes(file.SerializeToString())


WRONG_SCORES: dict[str, Callable[[], Ensemble]] = {
    "one threshold moved by one unit in the last place": lambda: with_first_changed(NumericSplit, threshold_moved_up),
    "one default direction flipped": lambda: with_first_changed(NumericSplit, default_flipped),
    "one category moved to the other side": lambda: with_first_changed(CategoricalSplit, category_removed),
    "one leaf value changed by 1e-9": lambda: with_first_changed(
        Leaf, lambda leaf: dataclasses.replace(leaf, value=leaf.value + 1e-9)
    ),
}


def test_right_files_pass_and_every_kind_of_row_is_counted() -> None:
    leafwise = leafwise_model(), leafwise_model(path_dependent=True)
    for examined in (exported_model(), path_dependent_model(), *leafwise):
        found = run_check(examined)

        assert [kind.kind for kind in found.kinds] == list(KINDS)
        assert all(kind.rows > 20 for kind in found.kinds)
        assert max(kind.contribution_distance for kind in found.kinds) < 1e-12


@pytest.mark.parametrize("fault", WRONG_SCORES)
def test_a_fault_in_the_score_is_reported_with_the_row_the_tree_and_the_node(fault: str) -> None:
    with pytest.raises(ExportMismatch) as refused:
        run_check(exported_model(score=WRONG_SCORES[fault]()))

    counterexample = refused.value.counterexample
    assert counterexample.quantity == "margin of score.onnx"
    assert len(counterexample.row) == COLUMNS
    assert counterexample.expected != counterexample.actual
    assert counterexample.divergence.startswith("tree ")
    assert str(refused.value).count("first divergence: tree ") == 1


@pytest.mark.parametrize("fault", [name for name in WRONG_SCORES if "1e-9" not in name])
def test_a_fault_in_the_explanation_is_reported_with_the_feature(fault: str) -> None:
    right = exported_model()
    wrong = with_margin_of(exported_model(explained=WRONG_SCORES[fault]()).explain, right.explain)

    with pytest.raises(ExportMismatch) as refused:
        run_check(dataclasses.replace(right, explain=wrong))

    assert refused.value.counterexample.quantity.startswith("contribution of Column_")


@pytest.mark.parametrize("fault", WRONG_SCORES)
def test_a_fault_in_the_margin_of_the_explanation_is_reported(fault: str) -> None:
    right = exported_model()
    wrong = with_margin_of(right.explain, exported_model(explained=WRONG_SCORES[fault]()).explain)

    with pytest.raises(ExportMismatch) as refused:
        run_check(dataclasses.replace(right, explain=wrong))

    assert refused.value.counterexample.quantity == "margin of explain.onnx"
    assert refused.value.counterexample.divergence.startswith("tree ")


def test_one_cover_count_changed_is_found_in_a_path_dependent_explanation() -> None:
    wrong = with_first_changed(SplitNode, lambda node: dataclasses.replace(node, count=node.count + 1))

    with pytest.raises(ExportMismatch, match="contribution of"):
        run_check(path_dependent_model(wrong))


def test_a_baseline_of_99_rows_instead_of_100_is_found() -> None:
    hundred = example_rows(100, 5)

    with pytest.raises(ExportMismatch, match="contribution of"):
        run_check(exported_model(baseline=hundred[:99], claimed=hundred))


def test_the_base_margin_of_a_different_baseline_is_found() -> None:
    right = exported_model()

    with pytest.raises(ExportMismatch, match="base margin"):
        run_check(dataclasses.replace(right, base_margin=right.base_margin + 1e-6))


def changed_lines(explain: bytes, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> bytes:
    """Return explain.onnx with a changed table of contributions."""
    model = onnx.load_from_string(explain)
    lines = next(tensor for tensor in model.graph.initializer if tensor.name == "lines")
    lines.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(lines).copy()), "lines"))
    return bytes(model.SerializeToString())


def test_one_value_of_the_explanation_changed_by_a_ten_thousandth_is_found() -> None:
    right = exported_model()
    found: list[NDArray[np.float64]] = []
    changed_lines(right.explain, lambda values: found.append(values) or values)  # type: ignore[func-returns-value]
    line, feature = (int(place[0]) for place in np.nonzero(found[0]))

    def change(values: NDArray[np.float64]) -> NDArray[np.float64]:
        values[line, feature] += 1e-4
        return values

    with pytest.raises(ExportMismatch, match="contribution of"):
        run_check(dataclasses.replace(right, explain=changed_lines(right.explain, change)))


def test_two_features_swapped_are_found() -> None:
    right = exported_model()
    swapped = changed_lines(right.explain, lambda values: values[:, [1, 0, *range(2, COLUMNS)]])

    with pytest.raises(ExportMismatch, match="contribution of"):
        run_check(dataclasses.replace(right, explain=swapped))


def leafwise_model(*, path_dependent: bool = False) -> ExportedModel:
    """Return an exported model whose contributions are computed leaf by leaf, without tables of single leaves."""
    right = path_dependent_model() if path_dependent else exported_model()
    ensemble = read_ensemble(booster())
    return dataclasses.replace(
        right, explain=leafwise_onnx(ensemble, ensemble_bins(ensemble), right.baseline, tables_bytes_max=0)
    )


def with_constant_changed(explain: bytes, operator: str) -> bytes:
    """Return explain.onnx with one number changed in the largest constant that an operator of this kind reads."""
    model = onnx.load_from_string(explain)
    cast = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    read = {cast.get(name, name) for node in model.graph.node if node.op_type == operator for name in node.input}
    # The table of the sizes of all sets has 2**14 numbers, most of which are never read.
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read and tensor.dims != [_FILLED]]
    tensor = max(tensors, key=lambda one: len(numpy_helper.to_array(one).reshape(-1)))
    values = numpy_helper.to_array(tensor).copy()
    flat = values.reshape(-1)
    flat[int(np.argmax(np.abs(flat) * (flat < _FILLED)))] *= 1.001 if values.dtype == np.float64 else 0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


_FILLED = 1 << 14  # a pattern that only fills up a line


@pytest.mark.parametrize(
    ("operator", "path_dependent"),
    [
        ("Mul", True),  # value of a leaf
        ("Sub", True),  # cover of a condition
        ("MatMul", True),  # a point or weight of the quadrature
        ("LessOrEqual", True),  # end of an interval
        ("ArrayFeatureExtractor", True),  # which condition or slot is read
        ("BitwiseAnd", False),  # a set of a pattern
        ("GatherElements", False),  # a number of baseline rows, or a weight
        ("Greater", False),  # start of an interval
    ],
)
def test_one_changed_number_of_a_leafwise_explanation_is_found(operator: str, *, path_dependent: bool) -> None:
    right = leafwise_model(path_dependent=path_dependent)

    with pytest.raises(ExportMismatch, match="contribution of"):
        check_equivalence(
            dataclasses.replace(right, explain=with_constant_changed(right.explain, operator)), example_rows(50, 9), 200
        )


def test_a_sampled_check_states_its_sizes_and_finds_a_wrong_cover() -> None:
    lines: list[str] = []
    limits = RowLimits(margins=150, contributions=40)

    found = check_equivalence(path_dependent_model(), example_rows(500, 9), RANDOM_ROWS, lines.append, limits)

    assert [kind.kind for kind in found.kinds] == list(KINDS)
    by_kind = {kind.kind: kind for kind in found.kinds}
    assert by_kind["random"].rows == 150
    assert (
        50 <= by_kind["threshold"].rows <= 150
    )  # a stride is rounded up, so that at least about half of the limit remains
    assert 50 <= by_kind["edge of a leaf"].rows <= 150
    assert 20 <= (by_kind["random"].explained_rows or 0) <= 40
    assert all("MB of memory so far" in line for line in lines)
    wrong = with_first_changed(SplitNode, lambda node: dataclasses.replace(node, count=node.count + 1))
    with pytest.raises(ExportMismatch, match="contribution of"):
        check_equivalence(path_dependent_model(wrong), example_rows(500, 9), RANDOM_ROWS, limits=limits)


def test_a_sample_of_rows_includes_every_combination_of_missing_values() -> None:
    rows = example_rows(2000, 4)
    rows[777, [0, 1, 4, 5]] = np.nan  # the only row with this combination

    sample = sample_rows(booster(), rows, 100)

    assert len(sample) < 220
    assert any(np.array_equal(one, rows[777], equal_nan=True) for one in sample)


def test_the_reference_equals_brute_force_over_all_coalitions() -> None:
    rows, baseline = example_rows(40, 11), example_rows(25, 12)

    found = interventional_shap(booster(), rows, baseline)

    assert np.abs(found - brute_force_shap(booster(), rows, baseline)).max() < 1e-12


CARD = Scorecard(
    slope=1.1,
    intercept=-0.2,
    base_score=600,
    base_odds=50.0,
    pdo=20.0,
    grades=(Grade(grade="A", max_pd=0.3), Grade(grade="B", max_pd=0.6), Grade(grade="C", max_pd=1.0)),
)
WRONG_ANSWERS: dict[str, Callable[[ExplainedScore], ExplainedScore]] = {
    "pd": lambda one: dataclasses.replace(one, pd=one.pd + 1e-5),
    "grade": lambda one: dataclasses.replace(one, grade="B" if one.grade == "A" else "A"),
    "score": lambda one: dataclasses.replace(one, score=one.score + 1),
    "points": lambda one: dataclasses.replace(one, points=(one.points[0] + 2, *one.points[1:])),
}


def file_answers(examined: ExportedModel, card: Scorecard, rows: FloatArray) -> list[ExplainedScore]:
    """Return the explained scores of rows, computed with the exported files."""
    found = zip(*(part.tolist() for part in Scorer(examined.score, examined.explain).explain(rows)), strict=True)
    return [build_explained_score(card, examined.base_margin, *one) for one in found]


@pytest.mark.parametrize("what", WRONG_ANSWERS)
def test_one_wrong_answer_among_many_is_reported(what: str) -> None:
    right, rows = exported_model(), example_rows(200, 9)
    claimed = file_answers(right, CARD, rows)
    check_answers(right, CARD, rows, claimed)
    claimed[120] = WRONG_ANSWERS[what](claimed[120])

    with pytest.raises(ExportMismatch) as refused:
        check_answers(right, CARD, rows, claimed)

    counterexample = refused.value.counterexample
    assert counterexample.row_number == 120
    assert counterexample.quantity.startswith(what)
    assert counterexample.row == pytest.approx(tuple(rows[120]), nan_ok=True)


@pytest.mark.parametrize(
    "change", [{"slope": 1.2}, {"intercept": -0.1}, {"pdo": 21.0}, {"base_odds": 40.0}, {"base_score": 601}]
)
def test_answers_scaled_by_a_different_scorecard_are_found(change: dict[str, float]) -> None:
    right, rows = exported_model(), example_rows(200, 9)
    check_scores(right, CARD, rows)

    with pytest.raises(ExportMismatch, match="data row 0"):
        check_answers(right, CARD, rows, file_answers(right, CARD.model_copy(update=change), rows))
