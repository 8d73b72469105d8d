"""`python -m server load`: feature and run files into the database, each checked wholly before anything of it is shown."""

import datetime as dt
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from server.errors import LoadRefused
from server.load.customer_columns import KEY_COLUMNS, check_columns, check_customers, rows_to_load
from server.load.runs import RUN_MANIFEST_KEYS, load_run
from server.stores.database import Database
from server.stores.features import append_features, unstored_rows
from server.stores.float_arrays import pack_doubles
from server.stores.record_log.erased_customers import ErasedCustomers, read_erased_customers
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.runs.loading import RunRetention, delete_unfinished_runs, lock_loading

_FORMATS = {"features": 1, "run": 2}
BATCH_ROWS = 5000  # in one transaction
_MANIFEST_KEYS = {"features": {"family", "feature_set_digest", "feature_names"}, "run": RUN_MANIFEST_KEYS}
_FEATURE_NAMES = TypeAdapter(list[str])
_NOT_FEATURES = {*KEY_COLUMNS, "sample"}


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came of one file: rows that are new, that were known, and that were left out for the customer was erased since."""

    kind: str
    family: str
    added: int
    known: int
    erased: int


def load_file(
    database: Database, path: Path, load_time: dt.datetime, keys: KeyLocations, keep: RunRetention
) -> LoadResult:
    """Check a file and load it. The same file again changes nothing.

    Of a file that is refused nothing is loaded. Of a load that was killed readers see a run not at all, and features
    customer by customer as far as it came: features are dated and never changed. The same file again finishes it.

    Args:
        database: Where to.
        path: A feature or a run file.
        load_time: Of two runs with the same cut, the one loaded last answers.
        keys: Of the log: a run is recorded there, and who was erased there is left out.
        keep: Which runs stay when another is loaded.

    Raises:
        LogRefused: The keys are not those of the log.
        LoadRefused: The file is not what it should be; nothing of it was loaded.
        StoreUnavailable: A load or an erasure is under way, or the database does not answer.
    """
    manifest = _read_manifest(path)
    with lock_loading(database):
        delete_unfinished_runs(database)
        gone = read_erased_customers(database, keys)
        if manifest["kind"] == "features":
            return _load_features(database, path, manifest, gone)
        log = open_log(database, keys)
        try:
            return LoadResult("run", manifest["family"], *load_run(log, path, manifest, load_time, keep, gone))
        finally:
            log.close()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read what a file says of itself."""
    try:
        with pq.ParquetFile(path) as file:
            found = json.loads((file.schema_arrow.metadata or {}).get(b"grounds", b"{}"))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise LoadRefused(f"{path}: cannot be read as Parquet: {error}") from error
    manifest: dict[str, Any] = found if isinstance(found, dict) else {}
    kind = manifest.get("kind")
    if kind not in _MANIFEST_KEYS:
        raise LoadRefused(f"{path}: has no manifest of ours; feature and run files come from `python -m training`")
    written, reads = manifest.get("format", 1), _FORMATS[kind]
    if not isinstance(written, int) or written > reads:
        raise LoadRefused(f"{path}: has format {written}; this release reads up to {reads}")
    if kind == "run" and written < reads:
        raise LoadRefused(
            f"{path}: is a run of format {written}, which lacks what the feed tells; score it again with "
            "`python -m training score` of this release"
        )
    if absent := sorted(_MANIFEST_KEYS[kind] - set(manifest)):
        raise LoadRefused(f"{path}: the manifest lacks {', '.join(absent)}")
    return manifest


def _load_features(database: Database, path: Path, manifest: dict[str, Any], gone: ErasedCustomers) -> LoadResult:
    """Append the customers' features, but for those who were erased since; in small transactions, for decisions wait."""
    table = pq.read_table(path)
    check_customers(path, table)
    names, digest = _read_feature_names(path, table, manifest), manifest["feature_set_digest"]
    batches = table.filter(rows_to_load(table, gone)).to_batches(BATCH_ROWS)
    for batch in batches:  # nobody else appends meanwhile: what can be appended now can be appended below
        with database.reading() as connection:
            deque(unstored_rows(connection, _feature_rows(batch, names, digest)), maxlen=0)
    added = known = 0
    for batch in batches:
        with database.writing() as connection:
            new, old = append_features(connection, _feature_rows(batch, names, digest))
        added, known = added + new, known + old
    return LoadResult("features", manifest["family"], added, known, table.num_rows - added - known)


def _read_feature_names(path: Path, table: pa.Table, manifest: dict[str, Any]) -> list[str]:
    """Give the features of a file, once they are those of the manifest and finite."""
    names = [name for name in table.schema.names if name not in _NOT_FEATURES]
    try:
        told = _FEATURE_NAMES.validate_python(manifest["feature_names"])
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
    return names


def _feature_rows(batch: pa.RecordBatch, names: list[str], digest: str) -> Iterator[dict[str, Any]]:
    """Give the rows as the table takes them."""
    keys = batch.select(list(KEY_COLUMNS)).to_pylist()
    columns = [batch.column(name).to_pylist() for name in names]
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        yield {**key, "feature_set_digest": digest, "row": pack_doubles(values)}
