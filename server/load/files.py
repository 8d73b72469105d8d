"""Loads feature and run files into the database. A whole file is checked before any of its rows becomes visible."""

import datetime as dt
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from grounds_record.printable_text import hidden_text_problems
from server.errors import LoadRefused
from server.load.customer_columns import KEY_COLUMNS, check_columns, check_customers, rows_to_load
from server.load.manifest import REQUIRED_KEYS
from server.load.parquet_limits import LimitedParquet, open_parquet
from server.load.runs import load_run
from server.stores.database import Database
from server.stores.features import append_features, unstored_rows
from server.stores.float_arrays import pack_doubles
from server.stores.record_log.erased_customers import ErasedCustomers, read_erased_customers
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.runs.pruning import RunRetention, delete_unfinished_runs
from server.stores.runs.publication import fill_families, lock_loading

_FORMATS = {"features": 1, "run": 2}
BATCH_ROWS = 5000  # feature rows in one transaction
_MANIFEST_KEYS = {"features": {"family", "feature_set_digest", "feature_names"}, "run": REQUIRED_KEYS}
_FEATURE_NAMES = TypeAdapter(list[str])
_NOT_FEATURES = {*KEY_COLUMNS, "sample"}


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of loading one file.

    Attributes:
        kind: "features" or "run".
        family: The family of the bundle that the file belongs to.
        added: Number of rows that this load added.
        known: Number of rows that an earlier load added.
        erased: Number of rows that were skipped because their customer was erased.
    """

    kind: str
    family: str
    added: int
    known: int
    erased: int


def load_file(
    database: Database, path: Path, load_time: dt.datetime, keys: KeyLocations, retention: RunRetention
) -> LoadResult:
    """Check a file and load it. Loading the same file again changes nothing.

    An invalid file changes nothing. If the load of a run is killed, readers see no row of the run. If the load of
    features is killed, readers see the rows that were loaded so far. In both cases, loading the same file again
    completes the load.

    Args:
        database: The database to load the file into.
        path: Path of a feature or run file.
        load_time: Time of the load. Of two runs with the same as-of time, the one with the later load time is served.
        keys: Where the keys of the record log are. They are needed to record the run and to find erased customers.
        retention: The rules that determine which older runs are kept after the load of a run.

    Raises:
        LogRefused: The keys belong to a different record log.
        LoadRefused: The file is invalid. None of its rows was loaded.
        StoreUnavailable: Another load or an erasure is running, or the database does not respond.
    """
    manifest = _read_manifest(path)
    with lock_loading(database):
        delete_unfinished_runs(database)
        fill_families(database)
        erased_customers = read_erased_customers(database, keys)
        if manifest["kind"] == "features":
            return _load_features(database, path, manifest, erased_customers, load_time)
        log = open_log(database, keys)
        try:
            return LoadResult(
                "run", manifest["family"], *load_run(log, path, manifest, load_time, retention, erased_customers)
            )
        finally:
            log.close()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest from the metadata of a Parquet file, and check its kind, format and keys."""
    with open_parquet(path) as file:
        try:
            metadata = json.loads((file.schema.metadata or {}).get(b"grounds", b"{}"))
        except ValueError as error:
            raise LoadRefused(f"{path}: the manifest is not JSON: {error}") from error
    manifest: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
    if hidden := [f"{field}: {problem}" for field, problem in hidden_text_problems(manifest)]:
        raise LoadRefused(f"{path}: manifest: {'; '.join(hidden)}")
    kind = manifest.get("kind")
    if kind not in _MANIFEST_KEYS:
        raise LoadRefused(
            f"{path}: the file must contain the manifest of a feature or run file; write such files with `python -m training`"
        )
    file_format, newest_format = manifest.get("format", 1), _FORMATS[kind]
    if not isinstance(file_format, int) or file_format > newest_format:
        raise LoadRefused(
            f"{path}: format {file_format} is unsupported; this release reads formats up to {newest_format}"
        )
    if kind == "run" and file_format < newest_format:
        raise LoadRefused(
            f"{path}: run format {file_format} is unsupported; score the run again with `python -m training score` of this release"
        )
    if missing := sorted(_MANIFEST_KEYS[kind] - set(manifest)):
        raise LoadRefused(f"{path}: manifest: missing {', '.join(missing)}")
    return manifest


def _load_features(
    database: Database,
    path: Path,
    manifest: dict[str, Any],
    erased_customers: ErasedCustomers,
    load_time: dt.datetime,
) -> LoadResult:
    """Append the features of customers who are not erased.

    Transactions are small, because decisions wait for each of them. Only the key columns are read as a whole.
    """
    with open_parquet(path) as file:
        names, digest = _read_feature_names(path, file.schema, manifest), manifest["feature_set_digest"]
        keys = file.read_columns(list(KEY_COLUMNS))
        check_customers(path, keys, load_time)
        # Check every row against the store before appending any row. No other process can append rows meanwhile,
        # because this process holds the loading lock. So the second loop cannot fail on a row that contradicts a stored
        # row.
        for batch in _feature_batches(file, names, erased_customers):
            _check_finite(path, batch, names)
            with database.reading() as connection:
                deque(unstored_rows(connection, _feature_rows(batch, names, digest)), maxlen=0)
        added = known = 0
        for batch in _feature_batches(file, names, erased_customers):
            with database.writing() as connection:
                new, old = append_features(connection, _feature_rows(batch, names, digest))
            added, known = added + new, known + old
    return LoadResult("features", manifest["family"], added, known, keys.num_rows - added - known)


def _feature_batches(
    file: LimitedParquet, names: list[str], erased_customers: ErasedCustomers
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of customers who are not erased, in batches of at most BATCH_ROWS."""
    for batch in file.iterate_batches(BATCH_ROWS, [*KEY_COLUMNS, *names]):
        yield batch.filter(rows_to_load(batch, erased_customers))


def _check_finite(path: Path, batch: pa.RecordBatch, names: list[str]) -> None:
    """Raise LoadRefused if a feature has an infinite value."""
    for name in names:
        if pc.any(pc.is_inf(batch[name])).as_py():
            raise LoadRefused(f"{path}: column {name!r}: must not contain infinite values")


def _read_feature_names(path: Path, schema: pa.Schema, manifest: dict[str, Any]) -> list[str]:
    """Return the names of the features.

    Raises:
        LoadRefused: The columns differ from the manifest, or have the wrong type.
    """
    check_columns(path, schema, KEY_COLUMNS)
    names = [name for name in schema.names if name not in _NOT_FEATURES]
    try:
        declared = _FEATURE_NAMES.validate_python(manifest["feature_names"])
    except ValidationError as error:
        raise LoadRefused(f"{path}: manifest: feature_names: must be a list of strings") from error
    if names != declared:
        unmatched = sorted(set(names) ^ set(declared))
        problem = f"only one of the two contains {', '.join(unmatched)}" if unmatched else "the order differs"
        raise LoadRefused(f"{path}: the feature columns must equal feature_names of the manifest, but {problem}")
    check_columns(path, schema, dict.fromkeys(names, pa.float64()))
    return names


def _feature_rows(batch: pa.RecordBatch, names: list[str], digest: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table FEATURES for a batch of the file."""
    keys = batch.select(list(KEY_COLUMNS)).to_pylist()
    columns = [batch.column(name).to_pylist() for name in names]
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        yield {**key, "feature_set_digest": digest, "row": pack_doubles(values)}
