"""The proof before a release: every fault that an export has had elsewhere is planted, and stopped."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest

from models.scoring import Scorer
from tests.oracles import Rows, margins
from tests.training.export.made import MODELS, hard_rows, made_rows, model
from training.errors import ModelRefused
from training.export.explain import explain_onnx
from training.export.score import score_onnx
from training.export.trees import Ensemble, Leaf, Node, Split, Tree, read_ensemble
from training.frozen import representatives
from training.parity import prove

NAME = "large integers"  # what float32 cannot tell apart
ROWS = 400


def real_rows(booster: lightgbm.Booster) -> Rows:
    """Give rows of the kind that the model was fitted on."""
    rows = made_rows(ROWS, booster.num_feature(), seed=77)
    rows[:, 0] = np.round(1.7e9 + 40.0 * rows[:, 0])
    rows[:, 2] = np.round(2.0**24 + 3.0 * rows[:, 2]) / 100.0
    return rows


def rebuilt(ensemble: Ensemble, split: Callable[[Split], Split], leaf: Callable[[float], float]) -> Ensemble:
    """Give the model with every split and leaf changed."""

    def changed(tree: Tree) -> Tree:
        if isinstance(tree, Leaf):
            return Leaf(leaf(tree.value))
        return Node(split(tree.split), changed(tree.left), changed(tree.right))

    return dataclasses.replace(ensemble, trees=tuple(changed(tree) for tree in ensemble.trees))


def same(part: Any) -> Any:
    """Change nothing."""
    return part


def rounded(split: Split) -> Split:
    """Round the threshold to float32, as the common converter does."""
    return dataclasses.replace(split, threshold=float(np.float32(split.threshold)))


def one_down(split: Split) -> Split:
    """Sort a row that lies on the threshold the other way."""
    return dataclasses.replace(split, threshold=math.nextafter(split.threshold, -math.inf))


def other_side(split: Split) -> Split:
    """Send missing values to the other side."""
    return dataclasses.replace(split, missing_left=not split.missing_left)


WRONG_SCORES: dict[str, Callable[[Ensemble], Ensemble]] = {
    "thresholds rounded to float32": lambda e: rebuilt(e, rounded, same),
    "thresholds one double down": lambda e: rebuilt(e, one_down, same),
    "missing values on the other side": lambda e: rebuilt(e, other_side, same),
    "leaves rounded to float32": lambda e: rebuilt(e, same, lambda value: float(np.float32(value))),
    "leaves with the sign turned round": lambda e: rebuilt(e, same, lambda value: -value),
    "trees averaged": lambda e: rebuilt(e, same, lambda value: value / len(e.trees)),
    "a tree left out": lambda e: dataclasses.replace(e, trees=e.trees[:-1]),
}


def proved(score: Ensemble, explained: Ensemble, baseline: Rows, base_margin: float) -> None:
    """Export one model's score and another's explanation, and prove them against LightGBM."""
    booster = model(NAME)
    scorer = Scorer(score_onnx(score), explain_onnx(explained, baseline))
    prove(booster, read_ensemble(booster), scorer, real_rows(booster), base_margin)


def mean_margin(rows: Rows) -> float:
    """Give the base margin."""
    return math.fsum(margins(model(NAME), rows)) / len(rows)


@pytest.mark.parametrize("fault", WRONG_SCORES)
def test_a_score_with_a_planted_fault_is_refused_with_a_row_as_witness(fault: str) -> None:
    right = read_ensemble(model(NAME))
    baseline = real_rows(model(NAME))[:50]

    with pytest.raises(ModelRefused, match=r"parity: \d+ of \d+ \w+ rows differ; the first is \["):
        proved(WRONG_SCORES[fault](right), right, baseline, mean_margin(baseline))


@pytest.mark.parametrize("fault", [name for name in WRONG_SCORES if name != "leaves rounded to float32"])
def test_an_explanation_with_a_planted_fault_is_refused_with_a_row_as_witness(fault: str) -> None:
    right = read_ensemble(model(NAME))
    baseline = real_rows(model(NAME))[:50]

    with pytest.raises(ModelRefused, match=r"parity: contributions of \w+ row \[.*\] miss its margin"):
        proved(right, WRONG_SCORES[fault](right), baseline, mean_margin(baseline))


def test_an_explanation_against_another_baseline_is_refused() -> None:
    right = read_ensemble(model(NAME))
    rows = real_rows(model(NAME))

    with pytest.raises(ModelRefused, match=r"parity: contributions of data row \[.*\] miss its margin"):
        proved(right, right, rows[:50], mean_margin(rows[50:]))


def test_a_model_whose_zeros_are_missing_exported_as_if_they_were_not_is_refused() -> None:
    booster, rows = model("missing type Zero"), made_rows(ROWS, seed=77)
    right = read_ensemble(booster)
    wrong = dataclasses.replace(right, zero_missing=frozenset())
    base_margin = math.fsum(margins(booster, rows[:50])) / 50

    for score, explained in ((wrong, right), (right, wrong)):
        scorer = Scorer(score_onnx(score), explain_onnx(explained, rows[:50]))
        with pytest.raises(ModelRefused, match=r"^parity: "):
            prove(booster, right, scorer, rows, base_margin)


def test_an_export_without_fault_is_proved_on_data_thresholds_and_gaps() -> None:
    booster = model(NAME)
    ensemble, rows = read_ensemble(booster), real_rows(booster)
    scorer = Scorer(score_onnx(ensemble), explain_onnx(ensemble, rows[:50]))

    parity = prove(booster, ensemble, scorer, rows, mean_margin(rows[:50]))

    assert parity.rows == ROWS
    assert parity.threshold_rows > 3
    assert parity.missing_rows > 100
    assert 0.0 <= parity.residual_max <= 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_a_representative_has_the_margin_of_the_value_that_it_stands_for(name: str) -> None:
    booster = model(name)
    rows = hard_rows(booster, made_rows(200, booster.num_feature(), seed=77, gaps=0.05))

    frozen = representatives(read_ensemble(booster), rows)

    assert np.array_equal(margins(booster, frozen), margins(booster, rows))


def test_representatives_keep_no_value_of_anyone_between_two_thresholds() -> None:
    booster = model("missing type NaN")
    rows = made_rows(300, seed=77, gaps=0.1)

    frozen = representatives(read_ensemble(booster), rows)

    asked = booster.feature_importance() > 0
    continuous = [column for column in range(0, rows.shape[1], 2) if asked[column]]
    assert continuous
    for column in continuous:
        assert not set(frozen[:, column][~np.isnan(frozen[:, column])]) & set(rows[:, column])
    assert set(np.unique(frozen[:, ~asked][~np.isnan(frozen[:, ~asked])])) <= {0.0}
    assert np.array_equal(np.isnan(frozen), np.isnan(rows))
