"""Rejects features that alone rank the outcome too well, because they probably contain it (target leakage)."""

from collections.abc import Collection, Mapping

from training.errors import DataInvalid, quote_name, shorten_list, shorten_name
from training.measures.single_feature import rank_by_single_feature
from training.sources.samples import Samples, customer_of, label_of

# A feature that alone reaches this AUC probably contains the outcome. A strong feature that does not contain it has an
# AUC of about 0.7 to 0.85.
_AUC_MAX = 0.95
_FEATURES_SHOWN = 10
_NO_COLUMNS: Mapping[str, str] = {}


def check_leakage(
    samples: Samples, acknowledged: Collection[str] = (), columns: Mapping[str, str] = _NO_COLUMNS
) -> None:
    """Check that no feature, its missing values and its categories included, alone ranks above the bound.

    Args:
        samples: The samples; the check uses the fit and calibration parts.
        acknowledged: Features that are known not to contain the outcome; they are not checked.
        columns: The columns of features whose names differ from those of their columns, by feature, for the message.

    Raises:
        DataInvalid: A feature ranks above the bound; the message lists every such feature, the strongest first.
    """
    rows = samples.part("FIT", "CALIBRATION")
    labels, customers = label_of(rows), customer_of(rows)
    found = {
        name: rank_by_single_feature(
            rows[name].to_numpy(dtype="float64"), labels, customers, category=name in samples.levels
        )
        for name in samples.names
        if name not in acknowledged
    }
    leaking = sorted((name for name in found if found[name].best >= _AUC_MAX), key=lambda name: -found[name].best)
    if not leaking:
        return
    lines = [
        f"  {shorten_name(name)}{_column_of(name, columns)}: {found[name].best_reason} ranks {found[name].best:.1%} of all pairs of a good and a bad row correctly"
        for name in leaking
    ]
    listed = ", ".join(f'"{name}"' for name in leaking[:_FEATURES_SHOWN]) + (
        ", ..." if len(leaking) > _FEATURES_SHOWN else ""
    )
    raise DataInvalid(
        "\n".join(
            [
                f"features that alone rank at least {_AUC_MAX:.0%} of all pairs probably contain the outcome (target leakage):",
                *shorten_list(lines, _FEATURES_SHOWN, "  "),
                f"remove them; if they were known before the outcome, set acknowledge = [{listed}] in the spec",
            ]
        )
    )


def _column_of(name: str, columns: Mapping[str, str]) -> str:
    """Return the column of a feature in parentheses, as its owner wrote it; "" if it has the name of the feature."""
    return f" (column {quote_name(columns[name])})" if name in columns else ""
