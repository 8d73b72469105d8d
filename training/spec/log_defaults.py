"""Default fields of a spec with a transaction log: `family` and the columns of [log] are enough for a model."""

from collections.abc import Mapping
from typing import Any

# Features of every log, with their descriptions and monotone constraints. Each is a column of training/sources/features.sql.
_FEATURES: tuple[tuple[str, str, str, int], ...] = (
    ("recency_days", "Days since the last purchase", "days", 1),
    ("recency_over_gap_median", "Days since the last purchase, as a multiple of the usual gap", "", 1),
    ("own_silence_risk", "Share of the customer's own pauses of this length that lasted over the horizon", "", 1),
    ("purchase_days", "Purchase days in the whole history", "days", -1),
    ("purchase_days_30", "Purchase days in the last 30 days", "days", -1),
    ("purchase_days_90", "Purchase days in the last 90 days", "days", -1),
    ("purchase_days_365", "Purchase days in the last 365 days", "days", -1),
    ("spend_90", "Spend in the last 90 days", "", -1),
    ("spend_365", "Spend in the last 365 days", "", -1),
    ("spend_total", "Spend in the whole history", "", -1),
    ("purchase_days_trend_90", "Trend of purchase days, last 90 days to the 90 before", "", 0),
    ("gap_median_days", "Median gap between purchases", "days", 0),
    ("gap_cv", "Irregularity of the gaps between purchases", "", 0),
    ("tenure_days", "Days since the first purchase", "days", 0),
)
# Features that need an optional column of the log.
_OPTIONAL_FEATURES = (
    ("product", ("products_90", "Different products in the last 90 days", "", -1)),
    ("category", ("categories_90", "Different categories in the last 90 days", "", -1)),
)
_HORIZON_DAYS, _ACTIVE_DAYS = 90, 180
# The bands of a scoring run, and the parts of a spec that only a scoring run uses.
RUN_BANDS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
_RUN_GRADES = tuple(
    {"grade": band, "max_pd": bound} for band, bound in zip(RUN_BANDS, (0.1, 0.25, 0.5, 1.0), strict=True)
)
_RUN_PARTS = ("log", "run", "campaign", "value")


def fill_log_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a spec file with the default fields of a log, and the default bands of scoring runs."""
    filled = dict(content)
    score = filled.get("score", {})
    if any(part in filled for part in _RUN_PARTS) and isinstance(score, Mapping) and "grades" not in score:
        filled["score"] = {**score, "grades": _RUN_GRADES}
    log = filled.get("log")
    if not isinstance(log, Mapping):
        return filled
    filled.setdefault("title", f"Customers of {filled.get('family', 'a log')} who stop buying")
    filled.setdefault("purpose", "Rank customers by the probability that they stop buying")
    filled.setdefault("population", "the customers of the transaction log")
    filled.setdefault("snapshots", {"horizon_days": _HORIZON_DAYS, "active_days": _ACTIVE_DAYS})
    columns = log.get("columns")
    if not filled.get("features") and isinstance(columns, Mapping):
        chosen = [*_FEATURES, *(feature for column, feature in _OPTIONAL_FEATURES if column in columns)]
        filled["features"] = [
            {"name": name, "description": description, "unit": unit, "sign": sign}
            for name, description, unit, sign in chosen
        ]
    snapshots, search = filled["snapshots"], filled.get("search", {})
    fit = snapshots.get("fit", ()) if isinstance(snapshots, Mapping) else ()
    several = not isinstance(fit, list | tuple) or len(fit) != 1  # no date means that training chooses several dates
    if several and isinstance(search, Mapping) and "validation" not in search:
        filled["search"] = {**search, "validation": "forward"}
    return filled
