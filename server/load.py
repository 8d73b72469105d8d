"""`python -m server load`: feature and run files into the database, each file wholly or not at all."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, select

from server.errors import LoadRefused
from server.stores.database import Database
from server.stores.doubles import pack
from server.stores.features import append
from server.stores.tables import RISKS, RUNS

FORMAT = 1
BATCH_ROWS = 5000
MARKET = r"^[A-Z]{2}$"
CUSTOMER = r"^[A-Za-z0-9._:-]{1,64}$"
KEYS = {"market": pa.string(), "customer_id": pa.string(), "as_of": pa.timestamp("us", tz="UTC")}
RUN_COLUMNS = {
    **KEYS,
    "log_odds": pa.float64(),
    "pd": pa.float64(),
    "band": pa.string(),
    "rank": pa.int32(),
    "value_at_risk_minor": pa.int64(),
    "drivers": pa.string(),
    "features": pa.list_(pa.float64()),
    "contributions": pa.list_(pa.float64()),
}
MANIFEST_KEYS = {
    "features": {"family", "feature_set_digest"},
    "run": {"run_id", "bundle_id", "method", "feature_names", "feature_groups", "base_value", "currency"},
}
NOT_FEATURES = {*KEYS, "sample"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of one file."""

    kind: str
    family: str
    added: int
    known: int


def load_file(database: Database, path: Path, load_time: dt.datetime) -> Loaded:
    """Check a file, then load it in one transaction. The same file again changes nothing.

    Raises:
        LoadRefused: The file is not what it should be; nothing of it was loaded.
    """
    table, manifest = read_file(path)
    check_keys(path, table)
    with database.writing() as connection:
        if manifest["kind"] == "features":
            return load_features(connection, path, table, manifest)
        return load_run(connection, path, table, manifest, load_time)


def read_file(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read a file and its manifest."""
    try:
        table = pq.read_table(path)
        manifest: dict[str, Any] = json.loads((table.schema.metadata or {}).get(b"grounds", b"{}"))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise LoadRefused(f"{path}: cannot be read as Parquet: {error}") from error
    kind = manifest.get("kind")
    if kind not in MANIFEST_KEYS:
        raise LoadRefused(f"{path}: has no manifest of ours; feature and run files come from `python -m training`")
    if manifest.get("format", 0) > FORMAT:
        raise LoadRefused(f"{path}: has format {manifest['format']}; this release reads up to {FORMAT}")
    if absent := sorted(MANIFEST_KEYS[kind] - set(manifest)):
        raise LoadRefused(f"{path}: the manifest lacks {', '.join(absent)}")
    return table, manifest


def check_keys(path: Path, table: pa.Table) -> None:
    """Refuse a file whose customers cannot be told apart or named."""
    check_columns(path, table, KEYS)
    if table.num_rows == 0:
        raise LoadRefused(f"{path}: has no rows")
    for column, pattern in (("market", MARKET), ("customer_id", CUSTOMER)):
        good = pc.match_substring_regex(table[column], pattern)
        if not pc.all(pc.fill_null(good, False)).as_py():  # noqa: FBT003 - pyarrow's signature
            raise LoadRefused(f"{path}: column {column!r} must match {pattern}")
    if table["as_of"].null_count:
        raise LoadRefused(f"{path}: column 'as_of' has gaps")
    distinct = table.group_by(list(KEYS)).aggregate([]).num_rows
    if distinct != table.num_rows:
        raise LoadRefused(f"{path}: {table.num_rows - distinct} rows repeat a market, customer and time")


def check_columns(path: Path, table: pa.Table, wanted: dict[str, Any]) -> None:
    """Refuse a file that lacks a column or has it in another type."""
    problems = [
        f"{name!r} must be {kind}"
        for name, kind in wanted.items()
        if name not in table.schema.names or table.schema.field(name).type != kind
    ]
    if problems:
        raise LoadRefused(f"{path}: columns: {'; '.join(problems)}")


def load_features(connection: Connection, path: Path, table: pa.Table, manifest: dict[str, Any]) -> Loaded:
    """Append the customers' features."""
    names = [name for name in table.schema.names if name not in NOT_FEATURES]
    check_columns(path, table, dict.fromkeys(names, pa.float64()))
    for name in names:
        if pc.any(pc.is_inf(table[name])).as_py():
            raise LoadRefused(f"{path}: column {name!r} holds infinite values")
    added = known = 0
    for batch in table.to_batches(BATCH_ROWS):
        new, old = append(connection, feature_rows(batch, names, manifest["feature_set_digest"]))
        added, known = added + new, known + old
    return Loaded("features", manifest["family"], added, known)


def feature_rows(batch: pa.RecordBatch, names: list[str], digest: str) -> Iterator[dict[str, object]]:
    """Give the rows as the table takes them."""
    keys = batch.select(list(KEYS)).to_pylist()
    columns = [batch.column(name).to_pylist() for name in names]
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        yield {**key, "feature_set_digest": digest, "row": pack(values)}


def load_run(
    connection: Connection, path: Path, table: pa.Table, manifest: dict[str, Any], load_time: dt.datetime
) -> Loaded:
    """Add a run, one line per market, with all its customers."""
    check_columns(path, table, RUN_COLUMNS)
    width = len(manifest["feature_names"])
    for column in ("features", "contributions"):
        lengths = pc.unique(pc.list_value_length(table[column])).to_pylist()
        if lengths != [width]:
            raise LoadRefused(f"{path}: column {column!r} must hold {width} values in every row")
    if not re.fullmatch(r"[0-9a-f]{32}", str(manifest["run_id"])):
        raise LoadRefused(f"{path}: the manifest's run_id must be 32 hexadecimal digits")
    known = connection.execute(select(RUNS.c.customer_count).where(RUNS.c.run_id == manifest["run_id"])).scalars().all()
    if known:
        return Loaded("run", manifest["family"], 0, sum(known))
    for market in pc.unique(table["market"]).to_pylist():
        part = table.filter(pc.equal(table["market"], market))
        times = pc.unique(part["as_of"]).to_pylist()
        if len(times) != 1:
            raise LoadRefused(f"{path}: market {market}: a run has one as_of, not {len(times)}")
        connection.execute(RUNS.insert().values(**run_line(manifest, market, times[0], part.num_rows, load_time)))
        for batch in part.to_batches(BATCH_ROWS):
            connection.execute(RISKS.insert(), [risk_line(manifest["run_id"], row) for row in batch.to_pylist()])
    return Loaded("run", manifest["family"], table.num_rows, 0)


def run_line(
    manifest: dict[str, Any], market: str, as_of: dt.datetime, customer_count: int, load_time: dt.datetime
) -> dict[str, object]:
    """Give a run's line."""
    return {
        "run_id": manifest["run_id"],
        "market": market,
        "as_of": as_of,
        "load_time": load_time,
        "customer_count": customer_count,
        "header": json.dumps(manifest, sort_keys=True),
    }


def risk_line(run_id: str, row: dict[str, Any]) -> dict[str, object]:
    """Give a customer's line."""
    line = {name: value for name, value in row.items() if name != "as_of"}
    return {**line, "run_id": run_id, "features": pack(row["features"]), "contributions": pack(row["contributions"])}
