"""Sign conflicts: contributions that contradict the sign of their feature.

The sign of a feature is its monotone constraint: with sign 1, the risk never falls as the value grows. If no row of the
baseline has a safer value than the customer, the feature cannot raise the customer's risk compared with the baseline. A
model that obeys its monotone constraints never violates this rule with interventional SHAP values. If a model violates
the rule for a customer, the model must not decide about that customer.
"""

from collections.abc import Mapping, Sequence

from models.bundle import Bundle
from models.tolerances import LOG_ODDS_TOLERANCE


def best_baseline_values(bundle: Bundle) -> dict[str, float]:
    """Return, for each feature that has a sign, its safest value in the baseline. Features missing in every row are left out."""
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
        bundle: The bundle whose schema has the signs and the order of the features.
        best: The result of `best_baseline_values(bundle)`.
        values: The customer's values, encoded as numbers, by feature name; missing features are absent.
        contributions: Contribution of each feature to the log-odds of the bad outcome, in the order of the schema.
    """
    return tuple(
        feature.name
        for feature, contribution in zip(bundle.schema.features, contributions, strict=True)
        if contribution > LOG_ODDS_TOLERANCE  # a smaller contribution counts as a rounding error
        and feature.name in best
        and feature.name in values
        # Multiplying by the sign makes "at least as safe as the best value" one comparison for both directions.
        and feature.sign * (values[feature.name] - best[feature.name]) <= 0
    )
