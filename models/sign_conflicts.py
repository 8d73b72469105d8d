"""Whether an explanation contradicts the sign table.

A feature that may only raise the risk (sign 1) cannot speak against a customer who has the best value
that any baseline row has: nobody compared with is better off. A monotone model with interventional
contributions never says so; a model that does is not to be believed on that customer.
"""

from collections.abc import Mapping, Sequence

from models.bundle import Bundle
from models.tolerances import LOG_ODDS_TOLERANCE


def best_baseline_values(bundle: Bundle) -> dict[str, float]:
    """Give, by feature with a sign, the best value of the baseline; none where every row misses it."""
    found = {}
    for position, feature in enumerate(bundle.schema.features):
        known = [row[position] for row in bundle.baseline.rows if row[position] is not None]
        values = [value for value in known if value is not None]
        if feature.sign and values:
            found[feature.name] = min(values) if feature.sign > 0 else max(values)
    return found


def sign_conflicts(
    bundle: Bundle, best: Mapping[str, float], values: Mapping[str, float], contributions: Sequence[float]
) -> tuple[str, ...]:
    """Give the features that push toward risk although no baseline row has a better value.

    Args:
        bundle: Its schema has the signs and the order of the contributions.
        best: `best_values` of the bundle.
        values: The customer's, by name, as numbers; a missing feature is not there.
        contributions: Log-odds of bad, in the order of the schema.
    """
    return tuple(
        feature.name
        for feature, contribution in zip(bundle.schema.features, contributions, strict=True)
        if contribution > LOG_ODDS_TOLERANCE
        and feature.name in best
        and feature.name in values
        and feature.sign * (values[feature.name] - best[feature.name]) <= 0
    )
