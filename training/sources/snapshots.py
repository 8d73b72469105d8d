"""Reads the snapshots of a transaction log.

A snapshot describes all customers as of a cut date (the cut). The features are computed from the lines before the cut,
and the label is computed from the lines between the cut and the end of the horizon.

features.sql defines the features, standing.sql defines the status and the horizon of a customer, and outcome.sql
defines the label. Amounts are DECIMAL, and a sum of decimals does not depend on the order of the additions. Therefore
the same log produces the same bytes for any number of threads and parts, and for any memory limit.
"""

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from training.errors import DataInvalid, SpecInvalid
from training.sources.samples import Sample, Samples
from training.sources.transaction_log import SourcePaths, TransactionLog, open_transaction_log
from training.spec import SnapshotSpec, Spec, check_feature_names

_DAY = dt.timedelta(days=1)
_EVER_DAYS = 1_000_000
_FEATURES_SQL, _STANDING_SQL, _OUTCOME_SQL = (
    (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8") for name in ("features", "standing", "outcome")
)
# Settings that define the rows and labels of a snapshot. A model must not score rows that were selected with other
# values of these settings.
_DEFINING_SETTINGS = {
    "outcome",
    "horizon_days",
    "horizon_gaps",
    "horizon_min_days",
    "active_days",
    "purchase_days_min",
    "tenure_days_min",
}
# Columns of the table `customers` that are not features.
_KEYS = {"market", "customer_id", "status", "horizon_days", "as_of", "sample", "period"}


def _statement_digest(sql: str) -> str:
    """Return the SHA-256 of an SQL statement; comments and white space do not affect it."""
    return hashlib.sha256(" ".join(re.sub(r"--[^\n]*", "", sql).split()).encode()).hexdigest()


# Digests in the manifests of early bundles also covered the comments. They map to the digests of the same statements
# without comments.
_EARLIER_DIGESTS = {
    "2fa21ae9dd64335b6bd5d87c05c6156fa60bae14bff3950077d756dd5c760e0e": _statement_digest(_FEATURES_SQL),
    "08afd32e01e778404e63a5f7e18897b0fe28ab0bbd78f69ecfbaa26b92c8985e": _statement_digest(_STANDING_SQL),
}


def row_definition(snapshots: SnapshotSpec) -> dict[str, str]:
    """Return the row definition that a manifest records: the digests of the SQL statements, and the settings."""
    digests = {
        "features_sql_sha256": _statement_digest(_FEATURES_SQL),
        "standing_sql_sha256": _statement_digest(_STANDING_SQL),
    }
    settings = snapshots.model_dump(include=_DEFINING_SETTINGS)
    return digests | {f"snapshots.{name}": str(value) for name, value in settings.items()}


def recorded_row_definition(made_from: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a manifest's `made_from`, with the digests of early bundles replaced by current digests."""
    return {name: _EARLIER_DIGESTS.get(value, value) for name, value in made_from.items()}


def read_log_samples(spec: Spec, sources: SourcePaths, threads: int) -> tuple[Samples, pd.DataFrame]:
    """Read all snapshots of the transaction log of a family.

    Returns:
        The samples, and the features of all customers who can be scored at snapshots.latest.

    Raises:
        SpecInvalid: The spec specifies an unknown column or feature, or a horizon of a part ends after the next part
            begins.
        DataInvalid: The log is invalid, or the lines of a market end before the horizon of a snapshot ends.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_transaction_log(log, spec.status, sources, threads) as opened:
        _check_horizons_over(opened, snapshots)
        results = [
            _read_snapshot(opened, snapshots, cut, part)
            for part, cuts in _snapshot_parts(snapshots).items()
            for cut in cuts
        ]
        histories = _read_histories(opened, snapshots) if any(rival.kind == "bg_nbd" for rival in spec.rivals) else None
        create_customers(opened, snapshots, snapshots.latest)
        latest = _scorable_customers(opened, snapshots, snapshots.latest)
    names = tuple(feature.name for feature in spec.features)
    _check_features(spec, tuple(latest.columns))
    counts = [line for _, lines in results for line in lines]
    rows = pd.concat([rows for rows, _ in results], ignore_index=True)
    waterfall = (*opened.waterfall, *counts)
    samples = Samples(
        rows, names, waterfall, opened.digest, {}, histories, columns=opened.columns, confirmation=opened.confirmation
    )
    return samples, latest


def _check_features(spec: Spec, columns: tuple[str, ...]) -> None:
    """Raise SpecInvalid if the spec uses a feature that features.sql does not define."""
    features = tuple(column for column in columns if column not in _KEYS)
    check_feature_names(spec, features)
    if unknown := [feature.name for feature in spec.features if feature.name not in columns]:
        raise SpecInvalid(
            f"features: training/sources/features.sql does not define {', '.join(unknown)}; use the features that it "
            f"defines: {', '.join(features)}"
        )


def read_log_customers(spec: Spec, sources: SourcePaths, at: dt.date, threads: int) -> pd.DataFrame:
    """Read the features of all customers who can be scored as of a date, from the lines before the date.

    Raises:
        SpecInvalid: The spec uses an unknown column or feature.
        DataInvalid: The log is invalid, the log ends before the date, or the feed of a market seems to have
            ended (see `check_log_reaches`).
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_transaction_log(log, spec.status, sources, threads) as opened:
        check_log_reaches(opened, snapshots, at)
        create_customers(opened, snapshots, at)
        latest = _scorable_customers(opened, snapshots, at)
    _check_features(spec, tuple(latest.columns))
    return latest


def check_log_reaches(log: TransactionLog, snapshots: SnapshotSpec, at: dt.date) -> None:
    """Raise DataInvalid if the log ends more than a day before a date, or if the feed of a market seems to have ended.

    The feed of a market seems to have ended if the number of days since the last line of the market is longer than
    every earlier pause of the market. In this case, all customers of the market would look as if they had left.
    """
    ends = log.last_line_times(before=at)
    end = max(ends.values())
    if end < _midnight(at) - _DAY:
        raise DataInvalid(f"--at {at}: the log ends {end:%Y-%m-%d %H:%M}; use a date up to {end.date() + _DAY}")
    longest = log.longest_pauses(before=at)
    for market, market_end in ends.items():
        pause = (at - market_end.date()).days
        # After a pause of more than active_days, the market has no customers in scope, so none of them is scored.
        if max(1, longest[market]) < pause <= snapshots.active_days:
            raise DataInvalid(
                f"--at {at}: the lines of market {market} end {market_end:%Y-%m-%d %H:%M}; the market never paused for so "
                f"long before, and its customers would look as if they had left. Use a date up to {market_end.date() + _DAY}, "
                "or a log with later lines; if the market closed, remove its lines from the log"
            )


def _midnight(day: dt.date) -> dt.datetime:
    """Return the time at which a day begins."""
    return dt.datetime.combine(day, dt.time())


def _snapshot_parts(snapshots: SnapshotSpec) -> dict[Sample, tuple[dt.date, ...]]:
    """Return the cut dates of each part; raise SpecInvalid if a horizon of a part ends after the next part begins."""
    horizon = dt.timedelta(days=snapshots.horizon_days)
    order = (("fit", snapshots.fit), ("calibration", snapshots.calibration), ("test", snapshots.test))
    for (earlier, earlier_cuts), (later, later_cuts) in itertools.pairwise(order):
        if max(earlier_cuts) + horizon > min(later_cuts):
            raise SpecInvalid(
                f"snapshots.{earlier}: the horizon of the last cut date ends {max(earlier_cuts) + horizon}, after the first "
                f"cut date of snapshots.{later} ({min(later_cuts)}); change the cut dates so that the horizon ends before"
            )
    return {"FIT": snapshots.fit, "CALIBRATION": snapshots.calibration, "HOLD_OUT": snapshots.test}


def _check_horizons_over(log: TransactionLog, snapshots: SnapshotSpec) -> None:
    """Raise DataInvalid if the lines of a market end before the horizon of a snapshot ends.

    The labels of such a snapshot would be wrong, because the purchases after the last line are unknown. A market whose
    lines end more than active_days before a cut date has no customers in that snapshot, so it is not checked for that
    snapshot.
    """
    horizon, scope = dt.timedelta(days=snapshots.horizon_days), dt.timedelta(days=snapshots.active_days)
    cuts = (*snapshots.fit, *snapshots.calibration, *snapshots.test)
    problems = []
    for market, end in log.last_line_times().items():
        immature = [str(cut) for cut in cuts if _midnight(cut) - scope <= end < _midnight(cut) + horizon]
        if immature:
            problems.append(
                f"snapshots {', '.join(immature)}: the lines of market {market} end {end:%Y-%m-%d %H:%M}, before the "
                "horizon does"
            )
    if problems:
        way_out = "use earlier snapshots, or a log with later lines; if a market closed, remove its lines from the log"
        raise DataInvalid("\n".join([*problems, way_out]))


def create_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> None:
    """Create the table `customers`: all customers in scope at a cut, with their features, status and horizon.

    Raises:
        DataInvalid: No customer is in scope.
    """
    scope = {"cut": cut, "active_days": snapshots.active_days, "horizon_days": snapshots.horizon_days}
    rules = {
        "cut": cut,
        "horizon_days": snapshots.horizon_days,
        **snapshots.model_dump(include={"horizon_gaps", "horizon_min_days", "purchase_days_min", "tenure_days_min"}),
    }
    for part in range(log.parts):
        log.select_part(part)
        log.connection.execute(f"CREATE OR REPLACE TABLE snapshot_features AS {_FEATURES_SQL}", scope)
        verb = "INSERT INTO customers" if part else "CREATE OR REPLACE TABLE customers AS"
        log.connection.execute(f"{verb} {_STANDING_SQL}", rules)
    if log.connection.execute("SELECT COUNT(*) FROM customers").fetchall() == [(0,)]:
        raise DataInvalid(
            f"snapshot {cut}: no customer bought in the {snapshots.active_days} days before the cut date; check the cut date "
            "and the log"
        )


def _read_histories(log: TransactionLog, snapshots: SnapshotSpec) -> pd.DataFrame:
    """Return the purchase histories of all customers who bought before the newest calibration snapshot.

    Inactive customers are included. Active customers alone look as if no customer ever left, and then the likelihood of
    BG/NBD has no maximum.
    """
    ever = snapshots.model_copy(update={"active_days": _EVER_DAYS})
    create_customers(log, ever, max(snapshots.calibration))
    return log.connection.execute(
        "SELECT purchase_days, recency_days, tenure_days FROM customers ORDER BY market, customer_id"
    ).df()


def _scorable_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> pd.DataFrame:
    """Return the rows of `customers` that can be scored; `sample` is HOLD_OUT for a test snapshot, otherwise NONE."""
    rows = log.connection.execute("SELECT * FROM customers WHERE status = 'SCORED' ORDER BY market, customer_id").df()
    part: Sample = "HOLD_OUT" if cut in snapshots.test else "NONE"
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat())


def _read_snapshot(
    log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date, part: Sample
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Return the training rows of one snapshot with labels, and the numbers of its customers and excluded rows."""
    create_customers(log, snapshots, cut)
    parameters: Mapping[str, Any] = {
        "cut": cut,
        "decline": snapshots.outcome == "decline",
        "decline_share": snapshots.decline_share,
    }
    # create_customers leaves a view `lines` that has only the last part. The labels need the lines of all customers.
    log.connection.execute("CREATE OR REPLACE VIEW lines AS SELECT * FROM valid_lines")
    customers = log.connection.execute(_OUTCOME_SQL, parameters).df()
    rows = customers[customers["left_out"].isna()].drop(columns="left_out").reset_index(drop=True)
    left_out = sorted(customers["left_out"].value_counts().items())
    label = f"snapshot {cut} ({part})"
    counts = [
        (f"{label}: customers", len(customers)),
        *((f"{label}: left out: {code}", -int(count)) for code, count in left_out),
    ]
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat()), counts


def _add_as_of(rows: pd.DataFrame, cut: dt.date) -> pd.DataFrame:
    """Return the rows with the column as_of, which is the cut in UTC."""
    return rows.assign(as_of=pd.Timestamp(cut, tz="UTC").as_unit("us"))
