"""Sign conflicts: contributions that contradict the sign of their feature.

A feature with sign 1 may only raise the risk as its value grows. If a customer has the best value of any row in the
baseline, nobody they are compared with is better off, so the feature cannot count against them. A model with monotone
constraints and interventional SHAP values never does this. One that does must not decide about that customer.
"""

from collections.abc import Mapping, Sequence

from models.bundle import Bundle
from models.tolerances import LOG_ODDS_TOLERANCE


def best_baseline_values(bundle: Bundle) -> dict[str, float]:
    """Return the safest value in the baseline of each feature that has a sign; features missing in every row are left out."""
    best = {}
    for position, feature in enumerate(bundle.schema.features):
        cells = [row[position] for row in bundle.baseline.rows]
        values = [value for value in cells if value is not None]
        if feature.sign and values:
            best[feature.name] = min(values) if feature.sign > 0 else max(values)
    return best


def sign_conflicts(
    bundle: Bundle, best: Mapping[str, float], values: Mapping[str, float], contributions: Sequence[float]
) -> tuple[str, ...]:
    """Return the features that raise the risk although no row of the baseline has a safer value.

    Args:
        bundle: Its schema has the signs and the order of the contributions.
        best: `best_baseline_values(bundle)`.
        values: The customer's, encoded as numbers, by name; missing features are absent.
        contributions: Log-odds of the bad outcome, in the order of the schema.
    """
    return tuple(
        feature.name
        for feature, contribution in zip(bundle.schema.features, contributions, strict=True)
        if contribution > LOG_ODDS_TOLERANCE  # below, it is rounding
        and feature.name in best
        and feature.name in values
        # Multiplying by the sign turns "at least as safe as the best" into one comparison for both directions.
        and feature.sign * (values[feature.name] - best[feature.name]) <= 0
    )
