"""score.onnx returns the margin of LightGBM bit for bit, on rows for which exports tend to be wrong."""

import math
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.onnx_scorer import open_session
from tests.oracles import FloatArray, margins, model_thresholds
from tests.training.export.example_models import (
    COLUMNS,
    MODELS,
    ROUNDS,
    ZERO_MAX,
    edge_case_rows,
    example_labels,
    example_model,
    example_rows,
    fit,
    mixed_missing_types_model,
    row_with_value,
    threshold_rows,
)
from training.errors import ModelRejected
from training.export.score import score_onnx
from training.export.trees import read_ensemble


def exported_margins(booster: lightgbm.Booster, rows: FloatArray) -> FloatArray:
    """Return the margins of score.onnx."""
    found: FloatArray = open_session(score_onnx(read_ensemble(booster)), ("margin",)).run(["margin"], {"rows": rows})[
        0
    ][:, 0]
    return found


def with_first_threshold(booster: lightgbm.Booster, threshold: float) -> lightgbm.Booster:
    """Return the model with a different threshold at its first split, changed in the text of the model."""
    lines = [line for line in booster.model_to_string().splitlines() if not line.startswith("tree_sizes=")]
    place = next(number for number, line in enumerate(lines) if line.startswith("threshold="))
    others = lines[place].removeprefix("threshold=").split()[1:]
    lines[place] = "threshold=" + " ".join([repr(threshold), *others])
    return lightgbm.Booster(model_str="\n".join([*lines, ""]))


@pytest.mark.parametrize("name", MODELS)
def test_the_margin_is_the_one_of_lightgbm_to_the_bit(name: str) -> None:
    booster = example_model(name)
    rows = edge_case_rows(booster, example_rows(300, booster.num_feature(), seed=77, gaps=0.05))

    assert np.array_equal(exported_margins(booster, rows), margins(booster, rows))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    gaps=st.sampled_from([0.0, 0.02, 0.5]),
    leaves=st.integers(2, 20),
    rounds=st.integers(1, 8),
    extra=st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}, {"extra_trees": True}]),
)
def test_random_models_have_the_margin_of_lightgbm_to_the_bit(
    seed: int, gaps: float, leaves: int, rounds: int, extra: dict[str, Any]
) -> None:
    booster = fit(example_rows(300, seed=seed, gaps=gaps), {"num_leaves": leaves, **extra}, rounds)
    rows = edge_case_rows(booster, example_rows(200, seed=seed + 1, gaps=gaps), seed)

    assert np.array_equal(exported_margins(booster, rows), margins(booster, rows))


@pytest.mark.parametrize(
    "threshold",
    [0.0, 5e-324, -5e-324, 1e-36, -1e-36, ZERO_MAX, -ZERO_MAX]
    + [sign * math.nextafter(ZERO_MAX, side) for sign in (1.0, -1.0) for side in (0.0, 1.0)],
)
def test_a_threshold_below_the_zero_threshold_sends_values_as_lightgbm_does(threshold: float) -> None:
    booster = with_first_threshold(example_model("missing type None"), threshold)
    rows = edge_case_rows(booster, example_rows(50, seed=78))

    assert threshold in {value for _, value in model_thresholds(booster)}
    assert np.array_equal(exported_margins(booster, rows), margins(booster, rows))


@pytest.mark.parametrize("threshold", [math.inf, 1e300, 2e300, 1.7e308, -1e300, -2e300, -1.7e308])
def test_a_threshold_too_large_for_the_dump_is_exact(threshold: float) -> None:
    """The function dump_model clips thresholds to +-1e300, but the text of the model has the exact thresholds."""
    booster = with_first_threshold(example_model("missing type NaN"), threshold)
    rows = np.concatenate([example_rows(50, gaps=0.2), threshold_rows(booster, example_rows(50))])
    beyond = [
        row_with_value(rows, number, feature, value)
        for feature in range(COLUMNS)
        for number, value in enumerate([1e300, 1.5e300, 3e300, math.inf, -1e300, -1.5e300, -3e300, -math.inf])
    ]
    rows = np.concatenate([rows, beyond])

    assert np.array_equal(exported_margins(booster, rows), margins(booster, rows))


@pytest.mark.parametrize("name", ["missing type NaN", "missing type Zero with gaps", "deep trees", "dart"])
def test_a_row_has_the_same_margin_alone_and_in_a_batch(name: str) -> None:
    booster = example_model(name)
    graph = open_session(score_onnx(read_ensemble(booster)), ("margin",))
    rows = edge_case_rows(booster, example_rows(300, seed=77))

    together = graph.run(["margin"], {"rows": rows})[0]

    assert np.array_equal(np.concatenate([graph.run(["margin"], {"rows": row[None]})[0] for row in rows]), together)
    for size in (2, 31, 64, 65):
        assert np.array_equal(graph.run(["margin"], {"rows": rows[:size]})[0], together[:size])


def test_no_rows_have_no_margins() -> None:
    assert exported_margins(example_model("one tree"), example_rows()[:0]).shape == (0,)


def test_column_major_rows_give_the_same_margins() -> None:
    booster, rows = example_model("deep trees"), example_rows(200, gaps=0.1)

    assert np.array_equal(exported_margins(booster, np.asfortranarray(rows)), margins(booster, rows))


def test_a_model_read_from_its_text_gives_the_same_file() -> None:
    booster = example_model("deep trees")
    again = lightgbm.Booster(model_str=booster.model_to_string())

    assert score_onnx(read_ensemble(again)) == score_onnx(read_ensemble(booster))


def with_objective(parameters: dict[str, Any]) -> lightgbm.Booster:
    """Fit one round with unsupported parameters, such as a different objective or boosting."""
    return fit(example_rows(300), parameters, 2)


def custom_objective(margin: FloatArray, data: lightgbm.Dataset) -> tuple[FloatArray, FloatArray]:
    """Return the gradient and the curvature of the log-loss."""
    pd = 1.0 / (1.0 + np.exp(-margin))
    return pd - np.asarray(data.get_label()), pd * (1.0 - pd)


def zero_missing_in_some_trees() -> lightgbm.Booster:
    """Return a model fitted without missing values and continued with zero_as_missing."""
    return fit(example_rows(), {"zero_as_missing": True}, 3, init_model=fit(example_rows(), rounds=3))


def without_trees() -> lightgbm.Booster:
    """Return a model that has no trees, because no round was fitted."""
    rows = example_rows(300)
    return lightgbm.Booster({"objective": "binary", "verbose": -1}, lightgbm.Dataset(rows, example_labels(rows)))


UNSUPPORTED: dict[str, tuple[Callable[[], lightgbm.Booster], str]] = {
    "regression": (lambda: with_objective({"objective": "regression"}), "'regression'.*fit with objective='binary'"),
    "poisson": (lambda: with_objective({"objective": "poisson"}), "'poisson'.*fit with objective='binary'"),
    "cross entropy lambda": (
        lambda: with_objective({"objective": "cross_entropy_lambda"}),
        "'cross_entropy_lambda'.*objective='binary'",
    ),
    "multiclass": (
        lambda: with_objective({"objective": "multiclass", "num_class": 2}),
        "'multiclass'.*fit with objective='binary'",
    ),
    "one against all": (
        lambda: with_objective({"objective": "multiclassova", "num_class": 2}),
        "'multiclassova'.*fit with objective='binary'",
    ),
    "a custom objective": (
        lambda: with_objective({"objective": custom_objective}),
        "'custom'.*fit with objective='binary'",
    ),
    "linear trees": (lambda: with_objective({"linear_tree": True}), "linear_tree.*fit with linear_tree=false"),
    "zero as missing in some trees": (zero_missing_in_some_trees, r"features \[.*\].*fit all trees with one setting"),
    "no trees": (without_trees, "no trees; fit with num_iterations of at least 1"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_model_is_rejected_with_a_remedy(name: str) -> None:
    made, message = UNSUPPORTED[name]
    booster = made()

    with pytest.raises(ModelRejected, match=message):
        read_ensemble(booster)


def test_trees_with_missing_values_may_follow_trees_without() -> None:
    booster = mixed_missing_types_model()
    kinds = str(booster.dump_model()["tree_info"])

    assert "'missing_type': 'None'" in kinds
    assert "'missing_type': 'NaN'" in kinds
    read_ensemble(booster)


def with_categories() -> lightgbm.Booster:
    """Return a model with a categorical column whose splits use codes 0 and 5 and other codes."""
    rows = example_rows(gaps=0.05)
    rows[:, 2] = np.random.default_rng(4).integers(0, 12, len(rows))
    labels = np.isin(rows[:, 2], [0.0, 5.0, 11.0]) ^ (np.random.default_rng(5).random(len(rows)) < 0.1)
    fixed = {"objective": "binary", "num_leaves": 8, "num_threads": 1, "verbose": -1, "min_data_per_group": 5}
    return lightgbm.train(fixed, lightgbm.Dataset(rows, labels.astype(float), categorical_feature=[2]), ROUNDS)


def test_a_category_is_truncated_to_its_code_and_an_unknown_code_goes_right() -> None:
    booster, row = with_categories(), example_rows(1, seed=77)[0]

    def margins_for(*values: float) -> list[float]:
        rows = np.array([row_with_value(row[None], 0, 2, value) for value in values])
        found = exported_margins(booster, rows)
        assert np.array_equal(found, margins(booster, rows))
        return found.tolist()

    assert len(set(margins_for(0.0, -0.0, -0.5, -0.99, 0.9, 1e-40))) == 1
    assert len(set(margins_for(5.0, 5.7))) == 1
    no_code = margins_for(
        math.nan, -1.0, -1.5, -7.0, 12.0, 500.0, 2.0**31 - 1, 2.0**31, 2.0**32, 1e300, math.inf, -math.inf
    )
    assert len(set(no_code)) == 1
    assert len({margins_for(0.0)[0], margins_for(4.0)[0], no_code[0]}) >= 2


def test_the_init_score_of_training_is_in_neither_margin() -> None:
    rows = example_rows()
    start = np.random.default_rng(8).normal(size=len(rows))
    data = lightgbm.Dataset(rows, example_labels(rows), init_score=start)
    booster = lightgbm.train({"objective": "binary", "num_threads": 1, "verbose": -1}, data, ROUNDS)

    assert np.array_equal(exported_margins(booster, rows), margins(booster, rows))


def test_the_margin_of_a_model_with_another_sigmoid_is_before_the_sigmoid() -> None:
    booster, rows = example_model("sigmoid 0.5"), example_rows(50, seed=77)

    pd = 1.0 / (1.0 + np.exp(-0.5 * exported_margins(booster, rows)))

    np.testing.assert_allclose(pd, booster.predict(rows, num_threads=1), rtol=0.0, atol=1e-15)


def test_a_row_in_float32_has_the_margin_of_its_values_in_doubles() -> None:
    booster, rows = example_model("large integers"), example_rows(200, seed=77, gaps=0.1).astype(np.float32)

    expected = booster.predict(rows, raw_score=True, num_threads=1)

    assert np.array_equal(exported_margins(booster, rows.astype(np.float64)), expected)


def test_all_trees_are_exported_despite_early_stopping_options_of_predict() -> None:
    booster, rows = example_model("dart"), example_rows(200, seed=77)
    whole = exported_margins(booster, rows)

    assert np.array_equal(whole, margins(booster, rows))
    early: dict[str, Any] = {"pred_early_stop": True, "pred_early_stop_freq": 1, "pred_early_stop_margin": 0.1}
    assert not np.array_equal(booster.predict(rows, raw_score=True, num_threads=1, **early), whole)
    late = booster.predict(rows, raw_score=True, start_iteration=1, num_threads=1)
    assert not np.array_equal(late, whole)
