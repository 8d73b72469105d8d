"""`python -m server load`: feature and run files into the database, each file wholly or not at all."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from server.errors import LoadRefused
from server.load_run import RUN_COLUMNS, Loading, RunManifest, load_run
from server.stores.database import Database
from server.stores.doubles import pack
from server.stores.features import append
from server.stores.forgotten import Forgotten, forgotten
from server.stores.open_log import KeyPlaces, open_log

FORMAT = 1
BATCH_ROWS = 5000
MARKET = r"^[A-Z]{2}$"
CUSTOMER = r"^[A-Za-z0-9._:-]{1,64}$"
KEYS = {"market": pa.string(), "customer_id": pa.string(), "as_of": pa.timestamp("us", tz="UTC")}
MANIFEST_KEYS = {
    "features": {"family", "feature_set_digest", "feature_names"},
    "run": set(RunManifest.model_fields),
}
FEATURE_NAMES = TypeAdapter(list[str])
NOT_FEATURES = {*KEYS, "sample"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of one file."""

    kind: str
    family: str
    added: int
    known: int
    erased: int = 0  # left out, because the customer was erased since


def load_file(database: Database, path: Path, load_time: dt.datetime, keys: KeyPlaces | None = None) -> Loaded:
    """Check a file, then load it in one transaction. The same file again changes nothing.

    Args:
        database: Where to.
        path: A feature or a run file.
        load_time: Of two runs of one time, the one loaded last answers.
        keys: Where the keys of the log are: a run is recorded there, and who was erased there is left out of features.

    Raises:
        LogRefused: The keys are not those of the log.
        LoadRefused: The file is not what it should be; nothing of it was loaded.
    """
    table, manifest = read_file(path)
    check_keys(path, table)
    if manifest["kind"] == "features":
        gone = forgotten(database, keys)
        with database.writing() as connection:
            return load_features(connection, path, table, manifest, gone)
    check_columns(path, table, RUN_COLUMNS)
    if keys is None:
        raise LoadRefused(f"{path}: is a run, and a run is recorded: name the keys of the log")
    log = open_log(database, keys)
    try:
        with database.writing() as connection:
            added, known = load_run(Loading(connection, log, load_time), path, table, manifest)
    finally:
        log.close()
    return Loaded("run", manifest["family"], added, known)


def read_file(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read a file and its manifest."""
    try:
        table = pq.read_table(path)
        found = json.loads((table.schema.metadata or {}).get(b"grounds", b"{}"))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise LoadRefused(f"{path}: cannot be read as Parquet: {error}") from error
    manifest: dict[str, Any] = found if isinstance(found, dict) else {}
    kind = manifest.get("kind")
    if kind not in MANIFEST_KEYS:
        raise LoadRefused(f"{path}: has no manifest of ours; feature and run files come from `python -m training`")
    written = manifest.get("format", FORMAT)
    if not isinstance(written, int) or written > FORMAT:
        raise LoadRefused(f"{path}: has format {written}; this release reads up to {FORMAT}")
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


def load_features(
    connection: Connection, path: Path, table: pa.Table, manifest: dict[str, Any], gone: Forgotten
) -> Loaded:
    """Append the customers' features, but for those who were erased since."""
    names = [name for name in table.schema.names if name not in NOT_FEATURES]
    try:
        told = FEATURE_NAMES.validate_python(manifest["feature_names"])
    except ValidationError as error:
        raise LoadRefused(f"{path}: the manifest's feature_names must be a list of names") from error
    if names != told:
        other = sorted(set(names) ^ set(told))
        problem = f"{', '.join(other)} are in one of the two only" if other else "the order is another"
        raise LoadRefused(f"{path}: the features are not those of the manifest: {problem}")
    check_columns(path, table, dict.fromkeys(names, pa.float64()))
    for name in names:
        if pc.any(pc.is_inf(table[name])).as_py():
            raise LoadRefused(f"{path}: column {name!r} holds infinite values")
    added = known = 0
    for batch in table.to_batches(BATCH_ROWS):
        rows = feature_rows(batch, names, manifest["feature_set_digest"])
        kept = (row for row in rows if not gone.covers(row["market"], row["customer_id"], row["as_of"]))
        new, old = append(connection, kept)
        added, known = added + new, known + old
    return Loaded("features", manifest["family"], added, known, table.num_rows - added - known)


def feature_rows(batch: pa.RecordBatch, names: list[str], digest: str) -> Iterator[dict[str, Any]]:
    """Give the rows as the table takes them."""
    keys = batch.select(list(KEYS)).to_pylist()
    columns = [batch.column(name).to_pylist() for name in names]
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        yield {**key, "feature_set_digest": digest, "row": pack(values)}
