"""Refuses features that know the outcome."""

from sklearn.metrics import roc_auc_score

from training.errors import DataInvalid
from training.sources.samples import Samples, label_of

# A single feature that ranks this well is the outcome under another name. (An honest one: 0.7.)
_AUC_MAX = 0.999


def check_leakage(samples: Samples) -> None:
    """Refuse a feature that alone separates good from bad.

    Raises:
        DataInvalid: Names every such feature.
    """
    rows = samples.part("FIT", "CALIBRATION")
    leaking = []
    for name in samples.names:
        if name in samples.levels:
            continue  # codes have no order; a level that knows the outcome shows in the figures of the hold-out
        present = rows[rows[name].notna()]
        if present["label"].nunique() == 2:  # noqa: PLR2004 - both outcomes
            auc = roc_auc_score(label_of(present), present[name])
            if max(auc, 1 - auc) >= _AUC_MAX:
                leaking.append(f"  {name}: alone ranks {max(auc, 1 - auc):.1%} of all pairs rightly")
    if leaking:
        raise DataInvalid("\n".join(["features that know the outcome (a leak); leave them out:", *leaking]))
