"""Feature files and run files: Parquet, with a manifest in the file's own metadata.

The manifest (key "grounds", JSON) says what the file is; `python -m server load` refuses a file without
one, and one whose columns are not as it says.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.atomic_files import write_file
from models.schema import Schema

_FORMAT = 1
KEY_COLUMNS = [
    ("market", pa.string()),
    ("customer_id", pa.string()),
    ("as_of", pa.timestamp("us", tz="UTC")),
]


def write_feature_file(path: Path, family: str, schema: Schema, rows: pd.DataFrame) -> None:
    """Write customers' features as of a time: one row per market, customer and time.

    `sample` says which part of the training data a row (of a table: its customer) was in, so that whoever shows the
    model at work can take rows that it has not learnt from.
    """
    columns = [*KEY_COLUMNS, ("sample", pa.string()), *((name, pa.float64()) for name in schema.names)]
    digest = schema.feature_set_digest
    names = list(schema.names)
    manifest = {"kind": "features", "family": family, "feature_set_digest": digest, "feature_names": names}
    _write_table(path, rows.sort_values(["market", "customer_id", "as_of"]), columns, manifest)


def _write_table(path: Path, rows: pd.DataFrame, columns: list[tuple[str, Any]], manifest: dict[str, Any]) -> None:
    """Write a Parquet file in one step: the same rows give the same bytes."""
    arrow_schema = pa.schema(columns, metadata={"grounds": json.dumps({"format": _FORMAT, **manifest}, sort_keys=True)})
    table = pa.Table.from_pandas(rows[[name for name, _ in columns]], schema=arrow_schema, preserve_index=False)
    table = table.replace_schema_metadata(arrow_schema.metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, sink.getvalue().to_pybytes())
