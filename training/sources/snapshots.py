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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from training.errors import DataInvalid, SpecInvalid
from training.sources.cancellations import DEFAULT_CANCEL_DAYS
from training.sources.currencies import check_money_features
from training.sources.incomplete_markets import (
    IncompleteMarket,
    incomplete_for_run,
    incomplete_for_snapshots,
    small_markets,
    too_small_label,
)
from training.sources.samples import Sample, Samples, Waterfall, hash_bucket
from training.sources.sql.expressions import referenced_columns
from training.sources.sql.rejections import rejection_with_types
from training.sources.transaction_log import SourcePaths, TransactionLog, open_transaction_log
from training.spec import SnapshotSpec, Spec, check_feature_names

_DAY = dt.timedelta(days=1)
_EVER_DAYS = 1_000_000
_CALIBRATION_BUCKETS = 5
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
_CANCEL_DAYS = "log.cancel_days"
# Columns of the table `customers` that are not features.
_KEYS = {"market", "customer_id", "status", "horizon_days", "as_of", "sample", "period"}


def _statement_digest(sql: str) -> str:
    """Return the SHA-256 of an SQL statement; comments and white space do not affect it."""
    return hashlib.sha256(" ".join(re.sub(r"--[^\n]*", "", sql).split()).encode()).hexdigest()


# Digests in the manifests of early bundles also covered the comments. They, and the digests of statements that define every
# feature of their time as the present statements do, map to the digests of the present statements.
_EARLIER_DIGESTS = {
    "2fa21ae9dd64335b6bd5d87c05c6156fa60bae14bff3950077d756dd5c760e0e": _statement_digest(_FEATURES_SQL),
    # This statement had no spend_total and no figures over 365 days. It counted hundredths, so it is equal unless a
    # currency has more than two decimals.
    "132ac95d3d357871f786afcb279bfe92e8e7d46f22e5697eaa34f5b3de5c2e8b": _statement_digest(_FEATURES_SQL),
    # This statement had no net spend, and no credit note cancelled an order; log.cancel_days states the difference.
    "ad5ed787b4b3b74c5223b7a760ccc23d46e08be0ff515c98eb35f193516b2b2c": _statement_digest(_FEATURES_SQL),
    # This statement had no remainder of a cancelled order, so it is equal unless an order and its credit note differ.
    "e9ef5cdbb65730cccdca7403b7e62a62fe772f86fa52a40c44be0cce32da4c06": _statement_digest(_FEATURES_SQL),
    "08afd32e01e778404e63a5f7e18897b0fe28ab0bbd78f69ecfbaa26b92c8985e": _statement_digest(_STANDING_SQL),
}


def row_definition(spec: Spec) -> dict[str, str]:
    """Return the row definition that a manifest records: the digests of the SQL statements, and the settings.

    The spec has a [log].
    """
    assert spec.log is not None
    assert spec.snapshots is not None
    digests = {
        "features_sql_sha256": _statement_digest(_FEATURES_SQL),
        "standing_sql_sha256": _statement_digest(_STANDING_SQL),
    }
    settings = spec.snapshots.model_dump(include=_DEFINING_SETTINGS)
    cancel_days = DEFAULT_CANCEL_DAYS if spec.log.cancel_days is None else spec.log.cancel_days
    digests[_CANCEL_DAYS] = str(cancel_days)
    return digests | {f"snapshots.{name}": str(value) for name, value in settings.items()}


def with_recorded_rules(spec: Spec, made_from: Mapping[str, str]) -> Spec:
    """Return the spec with the rules of the log that a bundle was fitted with, where the spec does not state them.

    In bundles that do not record log.cancel_days, no credit note cancels an order.
    """
    if spec.log is None or spec.log.cancel_days is not None:
        return spec
    recorded = recorded_row_definition(made_from).get(_CANCEL_DAYS)
    days = DEFAULT_CANCEL_DAYS if recorded is None else int(recorded)
    return spec.model_copy(update={"log": spec.log.model_copy(update={"cancel_days": days})})


def recorded_row_definition(made_from: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a manifest's `made_from`, with the digests of early bundles replaced by current digests."""
    recorded = {name: _EARLIER_DIGESTS.get(value, value) for name, value in made_from.items()}
    return recorded if "features_sql_sha256" not in recorded else {_CANCEL_DAYS: "0", **recorded}


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
    assert snapshots.latest is not None, "the snapshots have dates, see cut_dates.with_cut_dates"
    with open_transaction_log(
        log, spec.status, sources, threads, aliases=spec.aliases, derived=derived_features(spec)
    ) as opened:
        incomplete = incomplete_for_snapshots(opened.market_days(), snapshots, spec.markets)
        results = [
            _read_snapshot(opened, snapshots, cut, part, [one for one in incomplete if one.cut == cut])
            for part, cuts in _snapshot_parts(snapshots).items()
            for cut in cuts
        ]
        histories = (
            _read_histories(opened, snapshots) if any(rival.kind == "bg_nbd" for rival in spec.benchmarks) else None
        )
        create_customers(opened, snapshots, snapshots.latest)
        latest = _scorable_customers(opened, snapshots, snapshots.latest)
    names = tuple(feature.name for feature in spec.features)
    _check_features(spec, tuple(latest.columns))
    counts = [line for _, lines in results for line in lines]
    rows = pd.concat([rows for rows, _ in results], ignore_index=True)
    if not snapshots.calibration:
        rows = _add_calibration_part(rows)
    small = small_markets(rows, spec.markets)
    rows, latest = (table[~table["market"].isin(small)].reset_index(drop=True) for table in (rows, latest))
    counts += [(too_small_label(market), -count) for market, count in small.items()]
    samples = Samples(
        rows,
        names,
        (*opened.waterfall, *counts),
        opened.digest,
        {},
        histories,
        columns=opened.columns,
        confirmation=opened.confirmation,
        left_out_markets=tuple(small),
    )
    return samples, latest


def _add_calibration_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with one fifth of the customers of the fit part, selected by hash, in the calibration part."""
    buckets = rows["customer_id"].map(lambda customer: hash_bucket(customer, _CALIBRATION_BUCKETS))
    return rows.assign(sample=rows["sample"].mask((rows["sample"] == "FIT") & (buckets == 0), "CALIBRATION"))


def _check_features(spec: Spec, columns: tuple[str, ...]) -> None:
    """Raise SpecInvalid if the spec uses a feature that features.sql does not define, or amounts of several currencies."""
    check_money_features(spec)
    features = tuple(column for column in columns if column not in _KEYS)
    check_feature_names(spec, features)
    if unknown := [feature.name for feature in spec.features if feature.name not in columns]:
        raise SpecInvalid(
            f"features: training/sources/features.sql does not define {', '.join(unknown)}; use the features that it "
            f"defines: {', '.join(features)}"
        )


def read_log_customers(
    spec: Spec, sources: SourcePaths, at: dt.date, threads: int, info: Callable[[str], None] = lambda _line: None
) -> pd.DataFrame:
    """Read the features of all customers who can be scored as of a date, from the lines before the date.

    Args:
        spec: The spec of the family.
        sources: The folder of the spec file, and the files to read instead of the files that the spec specifies.
        at: The date.
        threads: Number of threads of DuckDB; no result depends on it.
        info: Function that is called with a line about each market that is left out.

    Raises:
        SpecInvalid: The spec uses an unknown column or feature.
        DataInvalid: The log is invalid, the log ends before the date, or the feed of a market seems to have
            ended (see `create_run_customers`).
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_transaction_log(
        log, spec.status, sources, threads, aliases=spec.aliases, derived=derived_features(spec)
    ) as opened:
        for label, count in create_run_customers(opened, spec, at):
            info(f"{label}: {count:,} customers")
        latest = _scorable_customers(opened, snapshots, at)
    _check_features(spec, tuple(latest.columns))
    return latest


def create_run_customers(log: TransactionLog, spec: Spec, at: dt.date) -> Waterfall:
    """Create the table `customers` as of the date of a scoring run, without the customers of quiet markets.

    Returns:
        The label and the negative number of customers of each market that is left out.

    Raises:
        DataInvalid: The log ends before the date, a market is quiet and the spec requires to reject it (see
            training.sources.incomplete_markets), or no customer is in scope.
    """
    assert spec.snapshots is not None
    quiet = incomplete_for_run(log.market_days(before=at), at, spec.snapshots.active_days, spec.markets)
    create_customers(log, spec.snapshots, at)
    query = "DELETE FROM customers WHERE market = $market RETURNING 1"
    return tuple((one.label, -len(log.connection.execute(query, {"market": one.market}).fetchall())) for one in quiet)


def _snapshot_parts(snapshots: SnapshotSpec) -> dict[Sample, tuple[dt.date, ...]]:
    """Return the cut dates of each part; raise SpecInvalid if a horizon of a part ends after the next part begins."""
    horizon = dt.timedelta(days=snapshots.horizon_days)
    parts = (("fit", snapshots.fit), ("calibration", snapshots.calibration), ("test", snapshots.test))
    order = [(name, cuts) for name, cuts in parts if cuts]
    for (earlier, earlier_cuts), (later, later_cuts) in itertools.pairwise(order):
        if max(earlier_cuts) + horizon > min(later_cuts):
            raise SpecInvalid(
                f"snapshots.{earlier}: the horizon of the last cut date ends {max(earlier_cuts) + horizon}, after the first "
                f"cut date of snapshots.{later} ({min(later_cuts)}); change the cut dates so that the horizon ends before"
            )
    return {"FIT": snapshots.fit, "CALIBRATION": snapshots.calibration, "HOLD_OUT": snapshots.test}


def create_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> None:
    """Create the table `customers`: all customers in scope at a cut, with their features, status and horizon.

    Raises:
        DataInvalid: No customer is in scope.
    """
    scope = {
        "cut": cut,
        "active_days": snapshots.active_days,
        "horizon_days": snapshots.horizon_days,
        "minor_units": 10 ** max(2, log.decimals),
    }
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
    _add_derived_features(log)
    if log.connection.execute("SELECT COUNT(*) FROM customers").fetchall() == [(0,)]:
        raise DataInvalid(
            f"snapshot {cut}: no customer bought in the {snapshots.active_days} days before the cut date; check the cut date "
            "and the log"
        )


def derived_features(spec: Spec) -> dict[str, str]:
    """Return the SQL expression of each feature of a log that the spec computes from other features, by name."""
    return {feature.name: feature.column for feature in spec.features if feature.column is not None}


def _add_derived_features(log: TransactionLog) -> None:
    """Add the features that the spec computes to the table `customers`.

    An expression uses features of the same customer at the same cut, and features use lines before the cut only, so the
    expression cannot use lines after the cut.
    """
    for name, expression in log.derived.items():
        field = f"features.{name}.column"
        described = log.connection.execute("DESCRIBE customers").fetchall()
        types = {str(row[0]): str(row[1]) for row in described}
        present = [column for column in types if column not in _KEYS]
        if name in present:
            raise SpecInvalid(
                f"{field}: {name} is a feature of features.sql; remove column, or choose a different name"
            )
        used = {column: types[column] for column in referenced_columns(field, expression, present)}
        try:
            log.connection.execute(
                f"CREATE OR REPLACE TABLE customers AS SELECT *, CAST(({expression}\n) AS DOUBLE) AS {name} FROM customers"  # noqa: S608 - the expression is checked
            )
        except duckdb.Error as error:
            raise SpecInvalid(
                f"{field}: {expression!r} {rejection_with_types(error, used)}; correct the expression, so that it computes a number"
            ) from error


def _read_histories(log: TransactionLog, snapshots: SnapshotSpec) -> pd.DataFrame:
    """Return the purchase histories of all customers who bought before the newest calibration snapshot.

    Inactive customers are included. Active customers alone look as if no customer ever left, and then the likelihood of
    BG/NBD has no maximum.
    """
    ever = snapshots.model_copy(update={"active_days": _EVER_DAYS})
    create_customers(log, ever, max(snapshots.calibration or snapshots.fit))
    return log.connection.execute(
        "SELECT purchase_days, recency_days, tenure_days FROM customers ORDER BY market, customer_id"
    ).df()


def _scorable_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> pd.DataFrame:
    """Return the rows of `customers` that can be scored; `sample` is HOLD_OUT for a test snapshot, otherwise NONE."""
    rows = log.connection.execute("SELECT * FROM customers WHERE status = 'SCORED' ORDER BY market, customer_id").df()
    part: Sample = "HOLD_OUT" if cut in snapshots.test else "NONE"
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat())


def _read_snapshot(
    log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date, part: Sample, incomplete: Sequence[IncompleteMarket]
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Return the training rows of one snapshot with labels, and the numbers of its customers and excluded rows.

    The rows of incomplete markets are excluded, because their labels would be wrong.
    """
    create_customers(log, snapshots, cut)
    customers = label_customers(log, snapshots, cut)
    labels = {one.market: one.label.removeprefix("left out: ") for one in incomplete}
    customers["left_out"] = customers["left_out"].astype(object).fillna(customers["market"].map(labels))
    rows = customers[customers["left_out"].isna()].drop(columns="left_out").reset_index(drop=True)
    left_out = sorted(customers["left_out"].value_counts().items())
    label = f"snapshot {cut} ({part})"
    counts = [
        (f"{label}: customers", len(customers)),
        *((f"{label}: left out: {code}", -int(count)) for code, count in left_out),
    ]
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat()), counts


def label_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> pd.DataFrame:
    """Return the rows of the table `customers` with the outcomes that outcome.sql defines: `label` and `left_out`."""
    parameters: Mapping[str, Any] = {
        "cut": cut,
        "decline": snapshots.outcome == "decline",
        "decline_share": snapshots.decline_share,
    }
    # create_customers leaves a view `lines` that has only the last part. The labels need the lines of all customers.
    log.connection.execute("CREATE OR REPLACE VIEW lines AS SELECT * FROM valid_lines")
    return log.connection.execute(_OUTCOME_SQL, parameters).df()


def _add_as_of(rows: pd.DataFrame, cut: dt.date) -> pd.DataFrame:
    """Return the rows with the column as_of, which is the cut in UTC."""
    return rows.assign(as_of=pd.Timestamp(cut, tz="UTC").as_unit("us"))
