"""Checks the rows of a run file column by column, in batches. Ranks are checked for a whole market at once.

No error message contains a customer number.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.identifiers import CODE_PATTERN
from models.scorecard import pd_from_log_odds
from models.tolerances import LOG_ODDS_TOLERANCE
from server.decisions.bands import threshold_bands
from server.load.manifest import STATUSES, RunManifest

_SUPPRESSION_CODE = f"^{CODE_PATTERN}$"
RUN_COLUMNS = {
    "status": pa.string(),
    "log_odds": pa.float64(),
    "pd": pa.float64(),
    "band": pa.string(),
    "rank": pa.int32(),
    "decline_pd": pa.float64(),
    "value_at_risk_minor": pa.int64(),
    "expected_spend_minor": pa.int64(),
    "hold_out": pa.bool_(),
    "suppressions": pa.list_(pa.string()),
    "drivers": pa.string(),
    "features": pa.list_(pa.float64()),
    "contributions": pa.list_(pa.float64()),
}
_SCORE_COLUMNS = ("log_odds", "pd", "band", "rank", "value_at_risk_minor", "expected_spend_minor")
_LIST_COLUMNS = ("features", "contributions")


def find_problem(batch: pa.RecordBatch, manifest: RunManifest) -> str:
    """Return the first problem of a batch, as text; "" if the batch is valid."""
    for name in ("status", "hold_out", "suppressions"):
        if batch[name].null_count:
            return f"column {name!r}: must have no missing values"
    if not pc.all(pc.is_in(batch["status"], pa.array(STATUSES))).as_py():
        return f"column 'status': must be one of {', '.join(STATUSES)}"
    codes = batch["suppressions"].flatten()
    if codes.null_count or not _all_true(pc.match_substring_regex(codes, _SUPPRESSION_CODE)):
        return (
            "column 'suppressions': must contain codes: an uppercase letter, followed by uppercase letters, digits or _"
        )
    scored = pc.equal(batch["status"], "SCORED")
    return _find_problem_without_score(batch.filter(pc.invert(scored))) or _find_problem_with_score(
        batch.filter(scored), manifest
    )


def _find_problem_without_score(batch: pa.RecordBatch) -> str:
    """Return the first problem of rows whose status is not SCORED; "" if there is none.

    The score columns of these rows must be empty.
    """
    for name in (*_SCORE_COLUMNS, "decline_pd"):
        if batch[name].null_count < batch.num_rows:
            return f"column {name!r}: must be empty where status is not SCORED"
    for name in _LIST_COLUMNS:
        if pc.any(pc.greater(pc.list_value_length(batch[name]), 0)).as_py():
            return f"column {name!r}: must be empty where status is not SCORED"
    return ""


def _find_problem_with_score(batch: pa.RecordBatch, manifest: RunManifest) -> str:
    """Return the first problem of rows whose status is SCORED; "" if there is none."""
    width = len(manifest.feature_names)
    for name in (*_SCORE_COLUMNS, "drivers"):
        if batch[name].null_count:
            return f"column {name!r}: must have no missing values where status is SCORED"
    for name in _LIST_COLUMNS:
        lengths = pc.list_value_length(batch[name])
        if lengths.null_count or not _all_true(pc.equal(lengths, width)):
            return f"column {name!r}: must have {width} values in every row where status is SCORED"
    return (
        _find_score_problem(batch, manifest)
        or _find_value_problem(batch, manifest)
        or _find_band_problem(batch, manifest)
    )


def _find_score_problem(batch: pa.RecordBatch, manifest: RunManifest) -> str:
    """Return a problem if log_odds, pd or contributions are not finite or contradict each other; "" if they are valid."""
    log_odds = batch["log_odds"].to_numpy()
    if not np.isfinite(log_odds).all():
        return "column 'log_odds': must be finite"
    parts = list_matrix(batch["contributions"], len(manifest.feature_names))
    if batch["contributions"].flatten().null_count or not np.isfinite(parts).all():
        return "column 'contributions': must be finite"
    # Compute each pd with math.exp, because numpy's exp may differ in the last bit, and a replay requires equal bits.
    if [pd_from_log_odds(value) for value in log_odds.tolist()] != batch["pd"].to_pylist():
        return "column 'pd': must equal 1 / (1 + exp(-log_odds)) to the bit"
    if (np.abs(parts.sum(axis=1) + manifest.base_value - log_odds) > LOG_ODDS_TOLERANCE).any():
        return (
            f"column 'contributions': base_value plus contributions must equal log_odds within {LOG_ODDS_TOLERANCE:g}"
        )
    return ""


def _find_value_problem(batch: pa.RecordBatch, manifest: RunManifest) -> str:
    """Return the first problem of the columns features and decline_pd; "" if there is none."""
    if np.isinf(list_matrix(batch["features"], len(manifest.feature_names))).any():
        return "column 'features': must not contain infinite values"
    decline = batch["decline_pd"].drop_null().to_numpy()
    if not ((decline >= 0) & (decline <= 1)).all():
        return "column 'decline_pd': must be a probability, from 0 to 1"
    return ""


def _find_band_problem(batch: pa.RecordBatch, manifest: RunManifest) -> str:
    """Return a problem if a band does not follow from pd and the bounds in the manifest; "" if every band does."""
    names = np.array([band.band for band in manifest.bands])
    bounds = np.array([band.max_pd for band in manifest.bands])
    if names[threshold_bands(batch["pd"].to_numpy(), bounds)].tolist() != batch["band"].to_pylist():
        return f"column 'band': must be the band that pd falls into, one of {', '.join(names)}"
    return ""


def find_rank_problem(table: pa.Table) -> str:
    """Return a problem if the ranks of a market are invalid; "" if they are valid.

    The ranks must be the numbers from 1 to n. They must follow descending pd and, for equal pd, ascending customer_id.
    """
    scored = table.filter(pc.is_valid(table["rank"])).select(["customer_id", "pd", "rank"]).sort_by("rank")
    if not np.array_equal(scored["rank"].to_numpy(), np.arange(1, scored.num_rows + 1)):
        return f"column 'rank': must contain each number from 1 to {scored.num_rows} once, in the rows whose status is SCORED"
    if scored.num_rows > 1 and not scored["pd"].null_count:
        pds, ids = scored["pd"].to_numpy(), scored["customer_id"].combine_chunks()
        ascending = pc.greater(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
        if not ((pds[1:] < pds[:-1]) | ((pds[1:] == pds[:-1]) & ascending)).all():
            return "column 'rank': must be in the order of descending pd, then ascending customer_id"
    return ""


def list_matrix(lists: pa.ListArray, width: int) -> NDArray[np.float64]:
    """Return lists of equal length as a matrix of shape (len(lists), width). A missing value becomes NaN."""
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, dtype=np.float64).reshape(-1, width)


def _all_true(values: pa.Array) -> bool:
    """Return whether all values are true. An empty array counts as true."""
    return bool(pc.all(values, min_count=0).as_py())
