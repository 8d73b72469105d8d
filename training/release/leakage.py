"""Rejects features that contain the outcome (target leakage)."""

from sklearn.metrics import roc_auc_score

from training.errors import DataInvalid
from training.sources.samples import Samples, label_of

# A feature with at least this AUC contains the outcome. A strong feature that does not contain the outcome has an AUC
# of about 0.7.
_AUC_MAX = 0.999


def check_leakage(samples: Samples) -> None:
    """Check that no numeric feature alone separates good rows from bad rows.

    Raises:
        DataInvalid: A feature separates them; the message lists every such feature.
    """
    rows = samples.part("FIT", "CALIBRATION")
    leaking = []
    for name in samples.names:
        if name in samples.levels:
            # The codes of a category feature have no order, so an AUC has no meaning. The evaluation raises a leak
            # alarm if the information value of the feature is high.
            continue
        present = rows[rows[name].notna()]
        if present["label"].nunique() == 2:  # noqa: PLR2004 - both outcomes
            auc = roc_auc_score(label_of(present), present[name])
            if max(auc, 1 - auc) >= _AUC_MAX:
                leaking.append(
                    f"  {name}: ranks {max(auc, 1 - auc):.1%} of all pairs of a good and a bad row correctly"
                )
    if leaking:
        raise DataInvalid("\n".join(["features that contain the outcome (target leakage); remove them:", *leaking]))
