"""Writes feature files: Parquet with a manifest in the metadata of the file.

The manifest (key "grounds", JSON) states the kind and the columns of the file. `python -m server load` rejects a file
that has no manifest or different columns.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.atomic_files import make_folder, write_file
from models.schema import Schema
from training.errors import DataInvalid
from training.sources.reader.raw_table import quote_path

_FORMAT = 1
KEY_COLUMNS = [
    ("market", pa.string()),
    ("customer_id", pa.string()),
    ("as_of", pa.timestamp("us", tz="UTC")),
]


def write_feature_file(path: Path, family: str, schema: Schema, rows: pd.DataFrame) -> None:
    """Write the features of customers: one row for each market, customer and time.

    The column `sample` states the part of the training data to which the row, or the customer of the row, belongs. With
    this column, a demonstration of the model can select rows on which the model was not fitted.
    """
    columns = [*KEY_COLUMNS, ("sample", pa.string()), *((name, pa.float64()) for name in schema.names)]
    digest = schema.feature_set_digest
    names = list(schema.names)
    manifest = {"kind": "features", "family": family, "feature_set_digest": digest, "feature_names": names}
    _write_table(path, rows.sort_values(["market", "customer_id", "as_of"]), columns, manifest)


def check_replaceable(path: Path, markets: Collection[str], option: str) -> None:
    """Check that a new feature file or run file may replace the existing file at a default path, if there is one.

    Args:
        path: The default path of the new file.
        markets: All markets of the data that the new file is written from.
        option: What the user can set to write to a different path, e.g. "--files DIR".

    Raises:
        DataInvalid: The existing file has customers of other markets, or is neither a feature file nor a run file.
    """
    if not path.exists():
        return
    try:
        with duckdb.connect() as connection:
            query = f"SELECT DISTINCT market FROM read_parquet({quote_path(path)}) ORDER BY market"  # noqa: S608 - quoted
            present = [str(row[0]) for row in connection.execute(query).fetchall()]
    except duckdb.Error as error:
        raise DataInvalid(
            f"{path}: already exists and is neither a feature file nor a run file; move it, or set {option}"
        ) from error
    if others := [market for market in present if market not in markets]:
        raise DataInvalid(
            f"{path}: already has customers of market {', '.join(others)}, which the new file would not have; set {option} "
            f"to keep both files, or delete {path} if these customers are no longer needed"
        )


def _write_table(path: Path, rows: pd.DataFrame, columns: list[tuple[str, Any]], manifest: dict[str, Any]) -> None:
    """Write a Parquet file atomically; the same rows produce the same bytes."""
    arrow_schema = pa.schema(columns, metadata={"grounds": json.dumps({"format": _FORMAT, **manifest}, sort_keys=True)})
    table = pa.Table.from_pandas(rows[[name for name, _ in columns]], schema=arrow_schema, preserve_index=False)
    table = table.replace_schema_metadata(arrow_schema.metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    make_folder(path.parent)
    write_file(path, sink.getvalue().to_pybytes())
