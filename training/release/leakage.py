"""Rejects features that contain the outcome (target leakage)."""

from sklearn.metrics import roc_auc_score

from training.errors import DataInvalid
from training.sources.samples import Samples, label_of

# A single feature with this AUC is the outcome under another name; a strong legitimate one has 0.7.
_AUC_MAX = 0.999


def check_leakage(samples: Samples) -> None:
    """Check that no single numeric feature separates good from bad.

    Raises:
        DataInvalid: Lists every feature that does.
    """
    rows = samples.part("FIT", "CALIBRATION")
    leaking = []
    for name in samples.names:
        if name in samples.levels:
            continue  # codes have no order to rank by; its information value is checked instead
        present = rows[rows[name].notna()]
        if present["label"].nunique() == 2:  # noqa: PLR2004 - both outcomes
            auc = roc_auc_score(label_of(present), present[name])
            if max(auc, 1 - auc) >= _AUC_MAX:
                leaking.append(
                    f"  {name}: ranks {max(auc, 1 - auc):.1%} of all pairs of a good and a bad row correctly"
                )
    if leaking:
        raise DataInvalid("\n".join(["features that contain the outcome (target leakage); remove them:", *leaking]))
