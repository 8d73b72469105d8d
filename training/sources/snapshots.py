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

from training.errors import DataRefused, SpecRefused
from training.sources.samples import Sample, Samples
from training.sources.transaction_log import Log, Sources, open_log
from training.spec import SnapshotSpec, Spec, refuse_strangers

DAY = dt.timedelta(days=1)
EVER_DAYS = 1_000_000
FEATURES_SQL, STANDING_SQL, OUTCOME_SQL = (
    (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8") for name in ("features", "standing", "outcome")
)
MEANING = {
    "outcome",
    "horizon_days",
    "horizon_gaps",
    "horizon_min_days",
    "active_days",
    "purchase_days_min",
    "tenure_days_min",
}
# What a snapshot says of a customer beside the features.
KEYS = ("market", "customer_id", "status", "horizon_days")


def origins_of(snapshots: SnapshotSpec) -> dict[str, str]:
    """Name what a row of a log is: the SQL that makes it, and whom and what it is about. Bundles say it of themselves."""
    sql = {"features_sql_sha256": FEATURES_SQL, "standing_sql_sha256": STANDING_SQL}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sql.items()}
    return digests | {f"snapshots.{name}": str(value) for name, value in snapshots.model_dump(include=MEANING).items()}


def samples_of_log(spec: Spec, sources: Sources, threads: int) -> tuple[Samples, pd.DataFrame]:
    """Read a family's log and take its snapshots.

    Returns:
        The samples, and the features of all customers who can be scored as of the latest snapshot.

    Raises:
        SpecRefused: The spec names a column or feature that is not there.
        DataRefused: The log cannot be right, or ends before a horizon does.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_log(log, spec.status, sources, threads) as opened:
        refuse_immature(opened, snapshots)
        taken = [snapshot(opened, snapshots, cut, part) for part, cuts in parts_of(snapshots).items() for cut in cuts]
        histories = histories_at(opened, snapshots) if any(one.kind == "bg_nbd" for one in spec.rivals) else None
        take_customers(opened, snapshots, snapshots.latest)
        latest = customers_frame(opened, snapshots, snapshots.latest)
    names = tuple(feature.name for feature in spec.features)
    refuse_unknown(spec, tuple(latest.columns))
    counts = [line for _, lines in taken for line in lines]
    rows = pd.concat([rows for rows, _ in taken], ignore_index=True)
    return Samples(rows, names, (*opened.waterfall, *counts), opened.digest, {}, histories), latest


def refuse_unknown(spec: Spec, columns: tuple[str, ...]) -> None:
    """Refuse a spec with features that nobody computes."""
    refuse_strangers(spec, tuple(column for column in columns if column not in {*KEYS, "as_of", "sample", "period"}))
    if absent := [feature.name for feature in spec.features if feature.name not in columns]:
        offered = ", ".join(column for column in columns if column not in {*KEYS, "as_of", "sample", "period"})
        raise SpecRefused(
            f"features {', '.join(absent)} are not among those of training/sources/features.sql: {offered}"
        )


def customers_at(spec: Spec, sources: Sources, at: dt.date, threads: int) -> pd.DataFrame:
    """Give the features of all customers who can be scored as of a date, from what happened before it.

    Raises:
        SpecRefused: The spec names a feature that is not there.
        DataRefused: The log, or a market of it, ends before the date: the features would be older than they say.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with open_log(log, spec.status, sources, threads) as opened:
        refuse_unreached(opened, snapshots, at)
        take_customers(opened, snapshots, at)
        latest = customers_frame(opened, snapshots, at)
    refuse_unknown(spec, tuple(latest.columns))
    return latest


def refuse_unreached(log: Log, snapshots: SnapshotSpec, at: dt.date) -> None:
    """Refuse a date that the log does not reach, or a market whose lines stop before it as they never did before."""
    ends = log.ends(before=at)
    end = max(ends.values())
    if end < midnight(at) - DAY:
        raise DataRefused(f"--at {at}: the log ends {end:%Y-%m-%d %H:%M}; give a date up to {end.date() + DAY}")
    quiet = log.quiet_days(before=at)
    for market, its_end in ends.items():
        silence = (at - its_end.date()).days
        if max(1, quiet[market]) < silence <= snapshots.active_days:
            raise DataRefused(
                f"--at {at}: market {market} ends {its_end:%Y-%m-%d %H:%M}, and was never quiet for so long: its customers "
                f"would look lost. Give a date up to {its_end.date() + DAY}, or a log that reaches further; if the market "
                "closed, leave its lines out of the log"
            )


def midnight(day: dt.date) -> dt.datetime:
    """Give the time at which a day begins."""
    return dt.datetime.combine(day, dt.time())


def parts_of(snapshots: SnapshotSpec) -> dict[Sample, tuple[dt.date, ...]]:
    """Give the cuts of each part; refuse parts whose labels would reach into the next part."""
    horizon = dt.timedelta(days=snapshots.horizon_days)
    order = (("fit", snapshots.fit), ("calibration", snapshots.calibration), ("test", snapshots.test))
    for (earlier, known), (later, unseen) in itertools.pairwise(order):
        if max(known) + horizon > min(unseen):
            raise SpecRefused(
                f"snapshots.{earlier} reaches {max(known) + horizon}, into snapshots.{later} from {min(unseen)}"
            )
    return {"FIT": snapshots.fit, "CALIBRATION": snapshots.calibration, "HOLD_OUT": snapshots.test}


def refuse_immature(log: Log, snapshots: SnapshotSpec) -> None:
    """Refuse snapshots whose horizon is not over when a market ends: its labels are not known yet.

    A market that ended before anybody in scope bought has no rows in the snapshot, and does not matter.
    """
    horizon, scope = dt.timedelta(days=snapshots.horizon_days), dt.timedelta(days=snapshots.active_days)
    cuts = (*snapshots.fit, *snapshots.calibration, *snapshots.test)
    problems = []
    for market, end in log.ends().items():
        immature = [str(cut) for cut in cuts if midnight(cut) - scope <= end < midnight(cut) + horizon]
        if immature:
            problems.append(
                f"snapshots {', '.join(immature)}: market {market} ends {end:%Y-%m-%d %H:%M}, before their horizon does"
            )
    if problems:
        way_out = (
            "take earlier snapshots, or a log that reaches further; if a market closed, leave its lines out of the log"
        )
        raise DataRefused("\n".join([*problems, way_out]))


def take_customers(log: Log, snapshots: SnapshotSpec, cut: dt.date) -> None:
    """Make the table `customers`: everyone in scope as of a cut, one part of them after the other."""
    scope = {"cut": cut, "active_days": snapshots.active_days, "horizon_days": snapshots.horizon_days}
    rules = {
        "cut": cut,
        "horizon_days": snapshots.horizon_days,
        **snapshots.model_dump(include={"horizon_gaps", "horizon_min_days", "purchase_days_min", "tenure_days_min"}),
    }
    for part in range(log.parts):
        log.look_at(part)
        log.connection.execute(f"CREATE OR REPLACE TABLE found AS {FEATURES_SQL}", scope)
        verb = "INSERT INTO customers" if part else "CREATE OR REPLACE TABLE customers AS"
        log.connection.execute(f"{verb} {STANDING_SQL}", rules)
    if log.connection.execute("SELECT COUNT(*) FROM customers").fetchall() == [(0,)]:
        raise DataRefused(f"snapshot {cut}: no customer bought in the {snapshots.active_days} days before")


def histories_at(log: Log, snapshots: SnapshotSpec) -> pd.DataFrame:
    """Give the histories of everyone who had ever bought at the newest development snapshot.

    Who looks at active customers alone never sees anybody leave: BG/NBD has no maximum there.
    """
    ever = snapshots.model_copy(update={"active_days": EVER_DAYS})
    take_customers(log, ever, max(snapshots.calibration))
    return log.connection.execute(
        "SELECT purchase_days, recency_days, tenure_days FROM customers ORDER BY market, customer_id"
    ).df()


def customers_frame(log: Log, snapshots: SnapshotSpec, cut: dt.date) -> pd.DataFrame:
    """Give those of `customers` who can be scored; a cut that is no test snapshot is in no part of the training data."""
    rows = log.connection.execute("SELECT * FROM customers WHERE status = 'SCORED' ORDER BY market, customer_id").df()
    part: Sample = "HOLD_OUT" if cut in snapshots.test else "NONE"
    return dated(rows, cut).assign(sample=part, period=cut.isoformat())


def snapshot(
    log: Log, snapshots: SnapshotSpec, cut: dt.date, part: Sample
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Take one snapshot: all customers in scope before the cut, what they did after it, and how many are left out."""
    take_customers(log, snapshots, cut)
    asked: Mapping[str, Any] = {
        "cut": cut,
        "decline": snapshots.outcome == "decline",
        "decline_share": snapshots.decline_share,
    }
    log.connection.execute("CREATE OR REPLACE VIEW lines AS SELECT * FROM kept")
    found = log.connection.execute(OUTCOME_SQL, asked).df()
    rows = found[found["left_out"].isna()].drop(columns="left_out").reset_index(drop=True)
    left_out = sorted(found["left_out"].value_counts().items())
    named = f"snapshot {cut} ({part})"
    counts = [(f"{named}: customers", len(found)), *((f"{named}: left out: {code}", -int(n)) for code, n in left_out)]
    return dated(rows, cut).assign(sample=part, period=cut.isoformat()), counts


def dated(rows: pd.DataFrame, cut: dt.date) -> pd.DataFrame:
    """Say as of when the rows are."""
    return rows.assign(as_of=pd.Timestamp(cut, tz="UTC").as_unit("us"))
