"""Snapshots of customers in time -> samples.

training/log.py reads the log; features.sql, standing.sql and outcome.sql are what a snapshot is. Money is DECIMAL
throughout, so the same log gives the same bytes whatever the number of threads, parts of the customers, or memory.
"""

import datetime as dt
import hashlib
import itertools
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
_DEFINING_SETTINGS = {
    "outcome",
    "horizon_days",
    "horizon_gaps",
    "horizon_min_days",
    "active_days",
    "purchase_days_min",
    "tenure_days_min",
}
# What a snapshot says of a customer beside the features.
_NON_FEATURES = ("market", "customer_id", "status", "horizon_days")


def row_definition(snapshots: SnapshotSpec) -> dict[str, str]:
    """Name what a row of a log is: the SQL that makes it, and whom and what it is about. Bundles say it of themselves."""
    sql = {"features_sql_sha256": _FEATURES_SQL, "standing_sql_sha256": _STANDING_SQL}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sql.items()}
    return digests | {
        f"snapshots.{name}": str(value) for name, value in snapshots.model_dump(include=_DEFINING_SETTINGS).items()
    }


def read_log_samples(spec: Spec, sources: SourcePaths, threads: int) -> tuple[Samples, pd.DataFrame]:
    """Read a family's log and take its snapshots.

    Returns:
        The samples, and the features of all customers who can be scored as of the latest snapshot.

    Raises:
        SpecInvalid: The spec names a column or feature that is not there.
        DataInvalid: The log cannot be right, or ends before a horizon does.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_transaction_log(log, spec.status, sources, threads) as opened:
        _check_horizons_over(opened, snapshots)
        taken = [
            _read_snapshot(opened, snapshots, cut, part)
            for part, cuts in _snapshot_parts(snapshots).items()
            for cut in cuts
        ]
        histories = _read_histories(opened, snapshots) if any(one.kind == "bg_nbd" for one in spec.rivals) else None
        create_customers(opened, snapshots, snapshots.latest)
        latest = _scorable_customers(opened, snapshots, snapshots.latest)
    names = tuple(feature.name for feature in spec.features)
    _check_features(spec, tuple(latest.columns))
    counts = [line for _, lines in taken for line in lines]
    rows = pd.concat([rows for rows, _ in taken], ignore_index=True)
    return Samples(rows, names, (*opened.waterfall, *counts), opened.digest, {}, histories), latest


def _check_features(spec: Spec, columns: tuple[str, ...]) -> None:
    """Refuse a spec with features that nobody computes."""
    check_feature_names(
        spec, tuple(column for column in columns if column not in {*_NON_FEATURES, "as_of", "sample", "period"})
    )
    if absent := [feature.name for feature in spec.features if feature.name not in columns]:
        offered = ", ".join(column for column in columns if column not in {*_NON_FEATURES, "as_of", "sample", "period"})
        raise SpecInvalid(
            f"features {', '.join(absent)} are not among those of training/sources/features.sql: {offered}"
        )


def read_log_customers(spec: Spec, sources: SourcePaths, at: dt.date, threads: int) -> pd.DataFrame:
    """Give the features of all customers who can be scored as of a date, from what happened before it.

    Raises:
        SpecInvalid: The spec names a feature that is not there.
        DataInvalid: The log, or a market of it, ends before the date: the features would be older than they say.
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
    """Refuse a date that the log does not reach, or a market whose lines stop before it as they never did before."""
    ends = log.last_line_times(before=at)
    end = max(ends.values())
    if end < _midnight(at) - _DAY:
        raise DataInvalid(f"--at {at}: the log ends {end:%Y-%m-%d %H:%M}; give a date up to {end.date() + _DAY}")
    quiet = log.longest_pauses(before=at)
    for market, its_end in ends.items():
        silence = (at - its_end.date()).days
        if max(1, quiet[market]) < silence <= snapshots.active_days:
            raise DataInvalid(
                f"--at {at}: market {market} ends {its_end:%Y-%m-%d %H:%M}, and was never quiet for so long: its customers "
                f"would look lost. Give a date up to {its_end.date() + _DAY}, or a log that reaches further; if the market "
                "closed, leave its lines out of the log"
            )


def _midnight(day: dt.date) -> dt.datetime:
    """Give the time at which a day begins."""
    return dt.datetime.combine(day, dt.time())


def _snapshot_parts(snapshots: SnapshotSpec) -> dict[Sample, tuple[dt.date, ...]]:
    """Give the cuts of each part; refuse parts whose labels would reach into the next part."""
    horizon = dt.timedelta(days=snapshots.horizon_days)
    order = (("fit", snapshots.fit), ("calibration", snapshots.calibration), ("test", snapshots.test))
    for (earlier, known), (later, unseen) in itertools.pairwise(order):
        if max(known) + horizon > min(unseen):
            raise SpecInvalid(
                f"snapshots.{earlier} reaches {max(known) + horizon}, into snapshots.{later} from {min(unseen)}"
            )
    return {"FIT": snapshots.fit, "CALIBRATION": snapshots.calibration, "HOLD_OUT": snapshots.test}


def _check_horizons_over(log: TransactionLog, snapshots: SnapshotSpec) -> None:
    """Refuse snapshots whose horizon is not over when a market ends: its labels are not known yet.

    A market that ended before anybody in scope bought has no rows in the snapshot, and does not matter.
    """
    horizon, scope = dt.timedelta(days=snapshots.horizon_days), dt.timedelta(days=snapshots.active_days)
    cuts = (*snapshots.fit, *snapshots.calibration, *snapshots.test)
    problems = []
    for market, end in log.last_line_times().items():
        immature = [str(cut) for cut in cuts if _midnight(cut) - scope <= end < _midnight(cut) + horizon]
        if immature:
            problems.append(
                f"snapshots {', '.join(immature)}: market {market} ends {end:%Y-%m-%d %H:%M}, before their horizon does"
            )
    if problems:
        way_out = (
            "take earlier snapshots, or a log that reaches further; if a market closed, leave its lines out of the log"
        )
        raise DataInvalid("\n".join([*problems, way_out]))


def create_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> None:
    """Make the table `customers`: everyone in scope as of a cut, one part of them after the other."""
    scope = {"cut": cut, "active_days": snapshots.active_days, "horizon_days": snapshots.horizon_days}
    rules = {
        "cut": cut,
        "horizon_days": snapshots.horizon_days,
        **snapshots.model_dump(include={"horizon_gaps", "horizon_min_days", "purchase_days_min", "tenure_days_min"}),
    }
    for part in range(log.parts):
        log.select_part(part)
        log.connection.execute(f"CREATE OR REPLACE TABLE found AS {_FEATURES_SQL}", scope)
        verb = "INSERT INTO customers" if part else "CREATE OR REPLACE TABLE customers AS"
        log.connection.execute(f"{verb} {_STANDING_SQL}", rules)
    if log.connection.execute("SELECT COUNT(*) FROM customers").fetchall() == [(0,)]:
        raise DataInvalid(f"snapshot {cut}: no customer bought in the {snapshots.active_days} days before")


def _read_histories(log: TransactionLog, snapshots: SnapshotSpec) -> pd.DataFrame:
    """Give the histories of everyone who had ever bought at the newest development snapshot.

    Who looks at active customers alone never sees anybody leave: BG/NBD has no maximum there.
    """
    ever = snapshots.model_copy(update={"active_days": _EVER_DAYS})
    create_customers(log, ever, max(snapshots.calibration))
    return log.connection.execute(
        "SELECT purchase_days, recency_days, tenure_days FROM customers ORDER BY market, customer_id"
    ).df()


def _scorable_customers(log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date) -> pd.DataFrame:
    """Give those of `customers` who can be scored; a cut that is no test snapshot is in no part of the training data."""
    rows = log.connection.execute("SELECT * FROM customers WHERE status = 'SCORED' ORDER BY market, customer_id").df()
    part: Sample = "HOLD_OUT" if cut in snapshots.test else "NONE"
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat())


def _read_snapshot(
    log: TransactionLog, snapshots: SnapshotSpec, cut: dt.date, part: Sample
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Take one snapshot: all customers in scope before the cut, what they did after it, and how many are left out."""
    create_customers(log, snapshots, cut)
    asked: Mapping[str, Any] = {
        "cut": cut,
        "decline": snapshots.outcome == "decline",
        "decline_share": snapshots.decline_share,
    }
    log.connection.execute("CREATE OR REPLACE VIEW lines AS SELECT * FROM kept")
    found = log.connection.execute(_OUTCOME_SQL, asked).df()
    rows = found[found["left_out"].isna()].drop(columns="left_out").reset_index(drop=True)
    left_out = sorted(found["left_out"].value_counts().items())
    named = f"snapshot {cut} ({part})"
    counts = [(f"{named}: customers", len(found)), *((f"{named}: left out: {code}", -int(n)) for code, n in left_out)]
    return _add_as_of(rows, cut).assign(sample=part, period=cut.isoformat()), counts


def _add_as_of(rows: pd.DataFrame, cut: dt.date) -> pd.DataFrame:
    """Say as of when the rows are."""
    return rows.assign(as_of=pd.Timestamp(cut, tz="UTC").as_unit("us"))
