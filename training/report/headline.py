"""The first sentence of a report and a model card: the model against the best of the simpler models (rivals)."""

from collections.abc import Mapping

from training.measures.quality import Quality
from training.validation.rivals import RivalResult, best_rival


def headline(model: Quality, rivals: Mapping[str, RivalResult], accepted: str | None) -> str:
    """Return a sentence that names the best rival and the difference in AUC with its interval.

    Args:
        model: Quality of the model on the hold-out.
        rivals: The results of the rivals on the same rows, by name.
        accepted: The rival that the model may be behind (`accept_behind` of the spec), or None.
    """
    best = best_rival(rivals)
    if best is None:
        return "No simpler model could be measured, so it is unknown whether this model is better than a simple rule."
    rival = rivals[best]
    against = best if len(rivals) == 1 else f"{best}, the best of {len(rivals)} simpler models"
    figures = (
        f"AUC {model.auc:.4f} against {rival.quality.auc:.4f}, a difference of {model.auc - rival.quality.auc:+.4f}"
    )
    if rival.auc_lead is None:
        return f"The model is compared with {against}: {figures}; the interval of the difference could not be measured."
    low, high = rival.auc_lead.low, rival.auc_lead.high
    if low > 0.0:
        verdict = f"The model is ahead of {against}"
    elif high < 0.0:
        verdict = f"The model is behind {against}"
    else:
        verdict = f"Chance may explain the difference between the model and {against}"
    sentence = f"{verdict}: {figures} (95 % interval {low:+.4f} to {high:+.4f}, on the same {model.rows:,} rows)."
    return f"{sentence} The spec accepts this (accept_behind)." if high < 0.0 and best == accepted else sentence
