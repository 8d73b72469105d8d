"""A copy of a market as a flat table, one row a customer: from pages, from the export, to Parquet and CSV and back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from grounds.churn.v1 import churn_pb2

DRIVERS = 3
TIME = pa.timestamp("us", tz="UTC")
# What is the customer's own, and what a part of a pull holds.
OWN = pa.schema(
    [
        ("customer_id", pa.string()),
        ("status", pa.string()),
        ("churn_probability", pa.float64()),
        ("log_odds", pa.float64()),
        ("decline_probability", pa.float64()),
        ("risk_band", pa.string()),
        ("previous_band", pa.string()),
        ("band_since_time", TIME),
        ("value_at_risk_minor", pa.int64()),
        ("expected_spend_minor", pa.int64()),
        ("hold_out", pa.bool_()),
        ("suppressions", pa.string()),
        ("action_allowed", pa.bool_()),
        *(
            (f"driver_{n}{part}", kind)
            for n in (1, 2, 3)
            for part, kind in (("", pa.string()), ("_log_odds", pa.float64()))
        ),
    ]
)
# The file: the run is the same for all of its rows; rank counts the rows with a score.
OF_RUN = pa.schema(
    [
        ("run_id", pa.string()),
        ("as_of_time", TIME),
        ("valid_until_time", TIME),
        ("bundle_id", pa.string()),
        ("currency_code", pa.string()),
    ]
)
FILE = pa.schema([("market", pa.string()), *OWN, ("rank", pa.int32()), *OF_RUN])
REMOVED = b"removed"


def table_of_page(page: churn_pb2.ListChurnRiskChangesResponse) -> pa.Table:
    """Give a page's customers, and in the metadata those who are to be deleted."""
    removed = json.dumps([customer.customer_id for customer in page.removed_customers])
    return pa.Table.from_pylist(
        [row_of(risk) for risk in page.churn_risks], schema=OWN.with_metadata({REMOVED: removed})
    )


def row_of(risk: churn_pb2.ChurnRisk) -> dict[str, Any]:
    """Give one customer."""
    row: dict[str, Any] = {
        "customer_id": risk.customer.customer_id,
        "status": churn_pb2.ChurnStatus.Name(risk.status).removeprefix("CHURN_STATUS_"),
        "risk_band": band_of(risk.risk_band),
        "previous_band": band_of(risk.previous_band),
        "hold_out": risk.hold_out,
        "suppressions": ",".join(risk.suppressions),
        "action_allowed": risk.action_allowed,
    }
    for name in ("churn_probability", "log_odds", "decline_probability"):
        row[name] = getattr(risk, name) if risk.HasField(name) else None
    row["band_since_time"] = micros(risk.band_since_time) if risk.HasField("band_since_time") else None
    for name in ("value_at_risk", "expected_spend"):
        row[f"{name}_minor"] = minor(getattr(risk, name)) if risk.HasField(name) else None
    for number, reason in enumerate(risk.drivers.reasons[:DRIVERS], start=1):
        row |= {f"driver_{number}": reason.text, f"driver_{number}_log_odds": reason.log_odds}
    return row


def band_of(band: churn_pb2.RiskBand) -> str | None:
    """Give a band's name; None where there is none."""
    return churn_pb2.RiskBand.Name(band).removeprefix("RISK_BAND_") if band else None


def micros(time: Timestamp) -> int:
    """Give a time in microseconds since 1970."""
    return int(time.seconds * 10**6 + time.nanos // 1000)


def minor(money: Money) -> int:
    """Give an amount in hundredths."""
    return int(money.units * 100 + money.nanos // 10**7)


def table_of_export(content: bytes, locale: str) -> pa.Table:
    """Give a part of the export, its drivers told in one language: that asked for, else its language, else English."""
    with pa.ipc.open_stream(content) as stream:
        part = stream.read_all()
    drivers = drivers_of(
        pa.concat_arrays([pa.array([], part.schema.field("drivers").type), *part["drivers"].chunks]), locale
    )
    columns = {**drivers, "suppressions": pc.binary_join(part["suppressions"], ",")}
    arrays = [columns[name] if name in columns else part[name] for name in OWN.names]
    return pa.table(dict(zip(OWN.names, arrays, strict=True)), schema=OWN.with_metadata({REMOVED: "[]"}))


def drivers_of(lists: pa.Array, locale: str) -> dict[str, pa.Array]:
    """Give the drivers' columns; all drivers of a customer are told in one language."""
    at = [element(lists, place) for place in range(DRIVERS)]
    texts = [pa.nulls(len(lists), pa.string()) for _ in at]
    for wanted in dict.fromkeys(("en", locale.split("-", maxsplit=1)[0], locale)):
        told = [pc.map_lookup(driver["texts"], wanted, "first") for driver in at]
        whole = pa.array(np.ones(len(lists), dtype=bool))
        for driver, text in zip(at, told, strict=True):
            whole = pc.and_(whole, pc.or_(pc.is_null(driver["code"]), pc.is_valid(text)))
        texts = [pc.if_else(whole, text, before) for text, before in zip(told, texts, strict=True)]
    columns = {}
    for number, (driver, text) in enumerate(zip(at, texts, strict=True), start=1):
        columns[f"driver_{number}"] = text
        columns[f"driver_{number}_log_odds"] = driver["log_odds"]
    return columns


def element(lists: pa.ListArray, place: int) -> dict[str, pa.Array]:
    """Give the fields of each list's element at a place; null where the list is shorter."""
    offsets = lists.offsets.to_numpy()
    there = offsets[1:] - offsets[:-1] > place
    if not there.any():
        return {field.name: pa.nulls(len(lists), field.type) for field in lists.values.type}
    taken = lists.values.take(pa.array(np.where(there, offsets[:-1] + place, 0), mask=~there))
    return dict(zip((field.name for field in taken.type), taken.flatten(), strict=True))


def applied(base: pa.Table, parts: Sequence[pa.Table]) -> pa.Table:
    """Give a copy after the parts: those who are in a part replace those who were there, and the removed go."""
    new = pa.concat_tables([part.replace_schema_metadata() for part in parts])
    removed = [customer_id for part in parts for customer_id in json.loads(part.schema.metadata[REMOVED])]
    gone = pa.chunked_array([pa.array(removed, pa.string())])
    replaced = pa.chunked_array([*gone.chunks, *new["customer_id"].chunks])
    kept = base.filter(pc.invert(pc.is_in(base["customer_id"], value_set=replaced)))
    new = new.filter(pc.invert(pc.is_in(new["customer_id"], value_set=gone)))
    return pa.concat_tables([kept, new]).sort_by("customer_id")


def file_table(own: pa.Table, market: str, of_run: dict[str, Any]) -> pa.Table:
    """Give the whole file: the customers' own columns, ranks, and the run."""
    constants = {"market": market, **of_run}
    columns = {
        name: pa.array([value], FILE.field(name).type).take(pa.array(np.zeros(own.num_rows, dtype=np.int64)))
        for name, value in constants.items()
    }
    columns["rank"] = ranks(own)
    arrays = [columns[name] if name in columns else own[name] for name in FILE.names]
    return pa.table(dict(zip(FILE.names, arrays, strict=True)), schema=FILE)


def ranks(own: pa.Table) -> pa.Array:
    """Count the customers with a score by falling probability, then customer_id."""
    order = pc.sort_indices(own, [("churn_probability", "descending"), ("customer_id", "ascending")]).to_numpy()
    places = np.empty(own.num_rows, dtype=np.int32)
    places[order] = np.arange(1, own.num_rows + 1)
    return pa.array(places, mask=~pc.is_valid(own["churn_probability"]).to_numpy())


def run_columns(run: churn_pb2.ChurnRun) -> dict[str, Any]:
    """Give what all rows of a file have from the run, as JSON takes it; times in microseconds since 1970."""
    return {
        "run_id": run.run_id,
        "as_of_time": micros(run.as_of_time),
        "valid_until_time": micros(run.valid_until_time),
        "bundle_id": run.bundle_id,
        "currency_code": run.currency_code,
    }


def write_file(path: Path, kind: str, table: pa.Table) -> None:
    """Write ".parquet" or ".csv"; in CSV nothing between commas means absent."""
    if kind == ".csv":
        pcsv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def read_file(path: Path, kind: str) -> pa.Table:
    """Read the customers' own columns of a file back, bit for bit; kind is ".csv" or ".parquet"."""
    if kind != ".csv":
        return pq.read_table(path, columns=OWN.names).replace_schema_metadata()
    convert = pcsv.ConvertOptions(
        column_types=FILE,
        include_columns=OWN.names,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pcsv.read_csv(path, parse_options=pcsv.ParseOptions(newlines_in_values=True), convert_options=convert)
