"""Every model is compared with the best rival twice: in the first sentence of its report, and in a release gate."""

import numpy as np
import pytest

from training.evaluation.release_gates import evaluate_best_rival
from training.measures.bootstrap import Interval
from training.measures.quality import measure_quality
from training.report.headline import headline
from training.validation.rivals import RivalResult

LABELS = np.array([0, 0, 1, 1] * 50)


def rival_result(mistakes: int, low: float, high: float) -> RivalResult:
    """Return a rival that ranks all rows correctly but some, and a lead of the model over the rival."""
    pds = np.where(LABELS == 1, 0.8, 0.2)
    pds[:mistakes] = 0.5
    return RivalResult(measure_quality(LABELS, pds), pds, Interval((low + high) / 2, low, high, 1000, 0))


MODEL = rival_result(8, 0.0, 0.0).quality


@pytest.mark.parametrize(
    ("low", "high", "verdict", "passed"),
    [
        (0.01, 0.03, "The model is ahead of good, the best of 2 simpler models: AUC ", True),
        (-0.02, 0.01, "Chance may explain the difference between the model and good, ", True),
        (-0.03, -0.01, "The model is behind good, the best of 2 simpler models: AUC ", False),
    ],
)
def test_a_model_is_released_unless_it_is_behind_the_best_rival_by_more_than_chance(
    *, low: float, high: float, verdict: str, passed: bool
) -> None:
    rivals = {"bad": rival_result(80, 0.5, 0.6), "good": rival_result(4, low, high)}

    sentence = headline(MODEL, rivals, None)
    (gate,) = evaluate_best_rival(rivals, None)

    assert sentence.startswith(verdict)
    assert (
        f"a difference of {MODEL.auc - rivals['good'].quality.auc:+.4f} (95 % interval {low:+.4f} to {high:+.4f}"
        in sentence
    )
    assert (gate.figure, gate.value, gate.passed) == ("rival.good.ahead_auc.high", high, passed)
    assert "accept_behind = 'good'" in gate.bound


def test_a_model_behind_a_rival_is_released_only_if_the_spec_accepts_it_and_the_headline_then_states_it() -> None:
    rivals = {"bad": rival_result(80, 0.5, 0.6), "good": rival_result(4, -0.03, -0.01)}

    assert evaluate_best_rival(rivals, "good")[0].passed
    assert not evaluate_best_rival(rivals, "bad")[0].passed
    assert headline(MODEL, rivals, "good").endswith("The spec accepts this (accept_behind).")
    assert headline(MODEL, rivals, "bad").endswith("rows).")


def test_the_sentence_states_what_could_not_be_measured() -> None:
    unmeasured = rival_result(4, 0.0, 0.0)
    rivals = {"good": RivalResult(unmeasured.quality, unmeasured.pds, None)}

    assert headline(MODEL, {}, None).startswith("No simpler model could be measured")
    assert "the interval of the difference could not be measured" in headline(MODEL, rivals, None)
    assert evaluate_best_rival(rivals, None) == evaluate_best_rival({}, None) == ()
