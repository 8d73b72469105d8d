"""Converts a checked batch of a run file into the two forms that are stored: table rows for reads, Arrow chunks for exports."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from server.decisions.bands import hysteresis_bands
from server.load.drivers import parse_drivers
from server.load.manifest import RunManifest
from server.load.row_checks import list_matrix
from server.stores.runs.export_chunks import EXPORT_SCHEMA, decode_chunk, split_batch
from server.stores.runs.leaf_batches import leaf_hashes
from server.stores.runs.publication import Chunk, StagedRun
from server.stores.tables import RISKS

_SCORED = "SCORED"
_HISTORY_COLUMNS = ("customer_id", "risk_band", "previous_band", "band_since_time")


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch in the form that the store writes.

    Attributes:
        rows: Rows of the table RISKS, each with its values in the order of the table's columns.
        leaves: The leaf hash of each row.
        chunks: Rows of the table RISK_CHUNKS.
        scored: Number of customers in the batch who have a score.
    """

    rows: list[tuple[Any, ...]]
    leaves: list[bytes]
    chunks: list[Chunk]
    scored: int


class PreviousBands:
    """The bands of a market's customers in the previous run.

    A history row has the columns of _HISTORY_COLUMNS. All columns are null for a customer who was not in the previous
    run.

    Args:
        contents: The export chunks of the previous run; empty if there is no previous run.
        customer_ids: All customers of the market, in the order of the file.
    """

    def __init__(self, contents: Iterable[bytes], customer_ids: pa.ChunkedArray) -> None:
        empty = pa.schema([EXPORT_SCHEMA.field(name) for name in _HISTORY_COLUMNS]).empty_table()
        self._table = pa.concat_tables(
            [empty, *(decode_chunk(content, _HISTORY_COLUMNS) for content in contents)]
        ).combine_chunks()
        # Look up all customers of the file at once, because a look-up for each batch would hash the whole previous run
        # again.
        self._positions = pc.index_in(
            customer_ids, value_set=self._table["customer_id"].combine_chunks()
        ).combine_chunks()

    def batch_history(self, first: int, count: int) -> pa.Table:
        """Return the history of `count` customers of the file, starting at position `first`."""
        return self._table.take(self._positions.slice(first, count))


def prepare_batch(
    batch: pa.RecordBatch, manifest: RunManifest, before: pa.Table, run: StagedRun, first_chunk: int
) -> PreparedBatch:
    """Convert a checked batch of one market.

    Args:
        batch: Rows of the run file.
        manifest: The run's manifest.
        before: The bands of the same customers in the previous run, from `PreviousBands`.
        run: The run in the market of the batch.
        first_chunk: The number of the first export chunk of this batch.

    Raises:
        DriversInvalid: The drivers of a customer are malformed.
    """
    drivers = pc.if_else(pc.equal(batch["status"], _SCORED), batch["drivers"], "[]")
    exported = _export_columns(batch, manifest, before, parse_drivers(drivers))
    chunks, chunk_numbers = [], np.empty(batch.num_rows, dtype=np.int64)
    first = 0
    for chunk, (piece, content) in enumerate(split_batch(exported), start=first_chunk):
        chunk_numbers[first : first + piece.num_rows] = chunk
        first += piece.num_rows
        chunks.append({"run_number": run.number, "chunk": chunk, "row_count": piece.num_rows, "content": content})
    columns = _table_columns(batch, exported, drivers)
    leaves = leaf_hashes(columns, run.salt_key)
    columns |= {"run_number": pa.repeat(run.number, batch.num_rows), "chunk": pa.array(chunk_numbers)}
    rows = list(zip(*(columns[column.name].to_pylist() for column in RISKS.c), strict=True))
    return PreparedBatch(rows, leaves, chunks, len(exported["rank"].drop_null()))


def _export_columns(
    batch: pa.RecordBatch, manifest: RunManifest, before: pa.Table, drivers: pa.Array
) -> pa.RecordBatch:
    """Return a batch in the columns of the export.

    `before` is the history of the same customers, from `PreviousBands`.
    """
    band = _bands_with_hysteresis(batch, manifest, before["risk_band"])
    stays = pc.fill_null(pc.equal(band, before["risk_band"]), False)  # noqa: FBT003 - pyarrow's signature
    since = pc.if_else(pc.is_valid(band), pc.if_else(stays, before["band_since_time"], batch["as_of"]), None)
    # previous_band is the band that the customer had before the present band. If the band stays, previous_band stays too.
    # If the band changes, previous_band is the band in the previous run or, if the customer had no band there, the
    # previous_band of that run.
    previous_band = pc.if_else(
        stays, before["previous_band"], pc.coalesce(before["risk_band"], before["previous_band"])
    )
    scored = pc.equal(batch["status"], _SCORED)
    suppressed = pc.greater(pc.list_value_length(batch["suppressions"]), 0)
    allowed = pc.and_(scored, pc.invert(pc.or_(batch["hold_out"], suppressed)))
    columns = {
        "churn_probability": batch["pd"],
        "risk_band": band,
        "previous_band": previous_band,
        "band_since_time": since,
        "decline_probability": batch["decline_pd"],
        "action_allowed": allowed,
        "drivers": drivers,
    }
    arrays = [
        _as_array(columns[field.name] if field.name in columns else batch[field.name], field) for field in EXPORT_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=EXPORT_SCHEMA)


def _as_array(column: pa.Array | pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """Return a column as a single array of the field's type."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array if array.type == field.type else array.cast(field.type)


def _bands_with_hysteresis(batch: pa.RecordBatch, manifest: RunManifest, before: pa.ChunkedArray) -> pa.Array:
    """Return the bands with hysteresis; null for a customer without a score. `before` contains the bands in the previous run."""
    names = pa.array([band.band for band in manifest.bands])
    threshold = _band_positions(batch["band"], names)
    log_odds = batch["log_odds"].to_numpy(zero_copy_only=False)
    bounds = np.array([band.max_pd for band in manifest.bands])
    bands = hysteresis_bands(log_odds, threshold, _band_positions(before, names), bounds, manifest.band_margin_log_odds)
    return names.take(pa.array(bands, pa.int64(), mask=threshold < 0))


def _band_positions(bands: pa.Array | pa.ChunkedArray, names: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the index of each band in `names`; -1 if the band is null or not in `names`."""
    positions = pc.fill_null(pc.index_in(bands, value_set=names), -1)
    return np.asarray(positions.to_numpy(), dtype=np.int64)


def _table_columns(batch: pa.RecordBatch, exported: pa.RecordBatch, drivers: pa.Array) -> dict[str, pa.Array]:
    """Return the columns of the table RISKS by name, except the numbers of run and chunk."""
    return {
        "customer_id": exported["customer_id"],
        "status": exported["status"],
        "log_odds": exported["log_odds"],
        "pd": exported["churn_probability"],
        "band": exported["risk_band"],
        "previous_band": exported["previous_band"],
        "band_since": exported["band_since_time"].cast(pa.int64()),
        "rank": exported["rank"],
        "value_at_risk_minor": exported["value_at_risk_minor"],
        "expected_spend_minor": exported["expected_spend_minor"],
        "decline_pd": exported["decline_probability"],
        "hold_out": exported["hold_out"],
        "suppressions": pc.binary_join(exported["suppressions"], ","),
        "drivers": drivers,
        **{name: _packed_doubles(batch[name], batch["status"]) for name in ("features", "contributions")},
    }


def _packed_doubles(lists: pa.ListArray, statuses: pa.Array) -> pa.Array:
    """Return each customer's list as little-endian doubles, NaN for a missing value; b"" for a customer without a score."""
    scored = pc.equal(statuses, _SCORED)
    scored_lists = lists.filter(scored)
    width = len(scored_lists[0]) if len(scored_lists) else 0
    content = list_matrix(scored_lists, width).astype("<f8") if width else np.empty(0)
    offsets = np.zeros(len(lists) + 1, dtype=np.int32)
    np.cumsum(scored.to_numpy(zero_copy_only=False) * (8 * width), out=offsets[1:])
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(lists), [None, pa.py_buffer(offsets), pa.py_buffer(content.ravel())]
    )
