"""The warnings on the first screen of a report: at most three, the most serious first."""

from collections.abc import Iterator

from training.evaluation.model_evaluation import ModelEvaluation
from training.validation.rivals import best_rival

_WARNINGS_MAX = 3
_BADS_MIN = 50  # with fewer bad rows in the hold-out, every figure has a wide interval


def first_warnings(evaluation: ModelEvaluation) -> list[str]:
    """Return the most serious warnings; the sections of the report and the limitations have all of them."""
    return list(_warnings(evaluation))[:_WARNINGS_MAX]


def _warnings(evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield every warning, the most serious first."""
    leaks = [name for name, feature in evaluation.features.items() if feature.leak_alarm]
    if leaks:
        leaks.sort(key=lambda name: -evaluation.features[name].auc)
        others = f" and {len(leaks) - 1} other features" if len(leaks) > 1 else ""
        yield f"{leaks[0]}{others} may contain the outcome (target leakage); see the table of features."
    best = best_rival(evaluation.rivals)
    lead = evaluation.rivals[best].auc_lead if best else None
    if lead is not None and lead.high < 0.0:
        yield f"A simpler model, {best}, ranks better than this model."
    if evaluation.test_quality.bads < _BADS_MIN:
        yield f"The hold-out has only {evaluation.test_quality.bads:,} bad rows, so all figures are uncertain."
    if evaluation.test_quality.ece > evaluation.calibration.ece_noise.quantile_95:
        yield "The probabilities differ from the outcomes by more than chance explains; see the section on calibration."
    shift = evaluation.score_shift
    if shift is not None and shift.verdict == "ACT":
        yield "The customers of the hold-out differ from those the model was fitted on; see the section on stability."
    if lead is not None and lead.low <= 0.0 <= lead.high:
        yield f"Chance may explain the difference between this model and a simpler one, {best}."
