"""The copy of a market as a flat Arrow table with one row per customer.

The table is built from the parts of an export and from pages of changes, and is stored as Parquet or CSV.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from babel.core import get_global
from google.protobuf.timestamp_pb2 import Timestamp

from grounds.churn.v1 import churn_pb2
from grounds_client.formatting import band_name, enum_name
from grounds_client.money import hundredths
from grounds_client.pull.arrow_limits import read_arrow_stream
from grounds_record.printable_text import escape_text

_DRIVERS_MAX = 3
_ENGLISH = "en"
_TIME = pa.timestamp("us", tz="UTC")
# The columns that describe a customer. The parts of a pull have only these columns.
CUSTOMER_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("status", pa.string()),
        ("churn_probability", pa.float64()),
        ("log_odds", pa.float64()),
        ("decline_probability", pa.float64()),
        ("risk_band", pa.string()),
        ("previous_band", pa.string()),
        ("band_since_time", _TIME),
        ("value_at_risk_minor", pa.int64()),
        ("expected_spend_minor", pa.int64()),
        ("hold_out", pa.bool_()),
        ("suppressions", pa.string()),
        ("action_allowed", pa.bool_()),
        *(
            (f"driver_{number}{suffix}", kind)
            for number in range(1, _DRIVERS_MAX + 1)
            for suffix, kind in (("", pa.string()), ("_log_odds", pa.float64()))
        ),
    ]
)
# The columns of the run, which are the same in every row of the copy.
_RUN_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("as_of_time", _TIME),
        ("valid_until_time", _TIME),
        ("bundle_id", pa.string()),
        ("currency_code", pa.string()),
    ]
)
# The columns of the copy. `rank` is the position among the customers with a score, from 1.
COPY_SCHEMA = pa.schema([("market", pa.string()), *CUSTOMER_SCHEMA, ("rank", pa.int32()), *_RUN_SCHEMA])
_REMOVED_KEY = b"removed"


def page_table(page: churn_pb2.ListChurnRiskChangesResponse) -> pa.Table:
    """Return the customers of a page of changes as a part, whose metadata lists the customers to remove."""
    removed = json.dumps([customer.customer_id for customer in page.removed_customers])
    rows = [_customer_row(risk) for risk in page.churn_risks]
    return pa.Table.from_pylist(rows, schema=CUSTOMER_SCHEMA.with_metadata({_REMOVED_KEY: removed}))


def _customer_row(risk: churn_pb2.ChurnRisk) -> dict[str, Any]:
    """Return one customer as a row; a column without a value is None or absent."""
    row: dict[str, Any] = {
        "customer_id": risk.customer.customer_id,
        "status": enum_name(churn_pb2.ChurnStatus, risk.status),
        "risk_band": band_name(risk.risk_band) if risk.risk_band else None,
        "previous_band": band_name(risk.previous_band) if risk.previous_band else None,
        "hold_out": risk.hold_out,
        "suppressions": ",".join(risk.suppressions),
        "action_allowed": risk.action_allowed,
    }
    for name in ("churn_probability", "log_odds", "decline_probability"):
        row[name] = getattr(risk, name) if risk.HasField(name) else None
    row["band_since_time"] = _microseconds(risk.band_since_time) if risk.HasField("band_since_time") else None
    for name in ("value_at_risk", "expected_spend"):
        row[f"{name}_minor"] = hundredths(getattr(risk, name)) if risk.HasField(name) else None
    for number, reason in enumerate(risk.drivers.reasons[:_DRIVERS_MAX], start=1):
        row |= {f"driver_{number}": reason.text, f"driver_{number}_log_odds": reason.log_odds}
    return row


def export_table(content: bytes, locale: str, market: str) -> pa.Table:
    """Return a part of the export with flat columns.

    Args:
        content: An Arrow stream with nested drivers.
        locale: The language of the driver texts, such as "de-AT". All drivers of a customer have one language: the first of
            `_preferred_locales` in which all texts exist.
        market: The market of the copy.
    """
    part = read_arrow_stream(content)
    drivers = pa.concat_arrays([pa.array([], part.schema.field("drivers").type), *part["drivers"].chunks])
    columns = {
        **_driver_columns(drivers, _preferred_locales(locale, market)),
        "suppressions": pc.binary_join(part["suppressions"], ","),
    }
    arrays = [columns[name] if name in columns else part[name] for name in CUSTOMER_SCHEMA.names]
    schema = CUSTOMER_SCHEMA.with_metadata({_REMOVED_KEY: "[]"})
    return pa.table(dict(zip(CUSTOMER_SCHEMA.names, arrays, strict=True)), schema=schema)


def removed_customers(part: pa.Table) -> list[str]:
    """Return the customer_ids that a part removes."""
    removed: list[str] = json.loads(part.schema.metadata[_REMOVED_KEY])
    return removed


def apply_parts(base: pa.Table, parts: Sequence[pa.Table]) -> pa.Table:
    """Return the customers of `base` with the changes of all parts applied.

    A row in a part replaces the customer's old row. Customers that a part removes are dropped.
    """
    new = pa.concat_tables([part.replace_schema_metadata() for part in parts])
    removed = pa.array([customer_id for part in parts for customer_id in removed_customers(part)], pa.string())
    replaced = pa.chunked_array([removed, *new["customer_id"].chunks])
    unchanged = base.filter(pc.invert(pc.is_in(base["customer_id"], value_set=replaced)))
    new = new.filter(pc.invert(pc.is_in(new["customer_id"], value_set=removed)))
    return pa.concat_tables([unchanged, new]).sort_by("customer_id")


def copy_table(customers: pa.Table, market: str, run: dict[str, Any]) -> pa.Table:
    """Return the whole copy: the customers' own columns, their ranks, and the columns of the run."""
    columns = {
        name: pa.repeat(pa.scalar(value, COPY_SCHEMA.field(name).type), customers.num_rows)
        for name, value in {"market": market, **run}.items()
    }
    columns["rank"] = _ranks(customers)
    arrays = [columns[name] if name in columns else customers[name] for name in COPY_SCHEMA.names]
    return pa.table(dict(zip(COPY_SCHEMA.names, arrays, strict=True)), schema=COPY_SCHEMA)


def run_columns(run: churn_pb2.ChurnRun) -> dict[str, Any]:
    """Return the columns of the run as JSON values; times in microseconds since 1970."""
    return {
        "run_id": run.run_id,
        "as_of_time": _microseconds(run.as_of_time),
        "valid_until_time": _microseconds(run.valid_until_time),
        "bundle_id": run.bundle_id,
        "currency_code": run.currency_code,
    }


def write_copy(path: Path, kind: str, table: pa.Table) -> None:
    """Write the copy; `kind` is ".parquet" or ".csv".

    In CSV, an empty cell is a missing value, and "" is an empty text. People look at CSV files in terminals, so hidden
    characters in texts are escaped, except newlines, which CSV quotes.
    """
    if kind == ".csv":
        pcsv.write_csv(_escape_texts(table), path)
    else:
        pq.write_table(table, path)


def _escape_texts(table: pa.Table) -> pa.Table:
    """Return the table with the hidden characters of its texts escaped."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and not pc.all(pc.utf8_is_printable(table[field.name]), min_count=0).as_py():
            texts = [None if text is None else escape_text(text) for text in table[field.name].to_pylist()]
            table = table.set_column(number, field, pa.array(texts, field.type))
    return table


def read_copy(path: Path, kind: str) -> pa.Table:
    """Read the customer columns of a copy, bit for bit as written; `kind` is ".parquet" or ".csv"."""
    if kind != ".csv":
        return pq.read_table(path, columns=CUSTOMER_SCHEMA.names).replace_schema_metadata()
    convert = pcsv.ConvertOptions(
        column_types=COPY_SCHEMA,
        include_columns=CUSTOMER_SCHEMA.names,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pcsv.read_csv(path, parse_options=pcsv.ParseOptions(newlines_in_values=True), convert_options=convert)


def _preferred_locales(locale: str, market: str) -> list[str]:
    """Return the languages of texts, the best one first. It is the order of the server's pages.

    The order is: the locale, the locale without its last parts (RFC 4647, section 3.4), what it most likely means, its
    language, the languages that most people of the market read, English. Source of what is likely: CLDR,
    https://unicode.org/reports/tr35/#Likely_Subtags.
    """
    locale = locale or _ENGLISH
    parts = locale.split("-")
    found = [locale, *("-".join(parts[:count]) for count in range(len(parts) - 1, 1, -1))]
    for tag in (locale, f"und-{market}"):
        likely = get_global("likely_subtags").get(tag.replace("-", "_"), "").split("_")
        if len(likely) == len(("language", "script", "region")):
            language, script, region = likely
            found += [f"{language}-{script}-{region}", f"{language}-{region}", f"{language}-{script}", language]
        if tag == locale:
            found.append(parts[0])
    return list(dict.fromkeys([*found, _ENGLISH]))


def _driver_columns(drivers: pa.ListArray, languages: Sequence[str]) -> dict[str, pa.Array]:
    """Return the flat columns of the nested drivers.

    Languages are tried from the last to the first; a customer's texts are overwritten only if all drivers of the customer have a
    text in that language.
    """
    elements = [_element(drivers, position) for position in range(_DRIVERS_MAX)]
    texts = [pa.nulls(len(drivers), pa.string()) for _ in elements]
    for language in reversed(languages):
        translations = [pc.map_lookup(element["texts"], language, "first") for element in elements]
        complete = pa.repeat(pa.scalar(value=True), len(drivers))
        for element, translation in zip(elements, translations, strict=True):
            complete = pc.and_(complete, pc.or_(pc.is_null(element["code"]), pc.is_valid(translation)))
        texts = [pc.if_else(complete, new, old) for new, old in zip(translations, texts, strict=True)]
    columns = {}
    for number, (element, text) in enumerate(zip(elements, texts, strict=True), start=1):
        columns[f"driver_{number}"] = text
        columns[f"driver_{number}_log_odds"] = element["log_odds"]
    return columns


def _element(lists: pa.ListArray, position: int) -> dict[str, pa.Array]:
    """Return the fields of each list's element at a position; null for lists that are too short."""
    starts, ends = lists.offsets[:-1], lists.offsets[1:]
    exists = pc.greater(pc.subtract(ends, starts), position)
    indices = pc.if_else(exists, pc.add(starts, position), pa.scalar(None, pa.int32()))
    elements = lists.values.take(indices)
    return dict(zip((field.name for field in elements.type), elements.flatten(), strict=True))


def _ranks(customers: pa.Table) -> pa.Array:
    """Return the rank of each customer by descending probability, then customer_id; null if there is no score."""
    order = pc.sort_indices(customers, [("churn_probability", "descending"), ("customer_id", "ascending")])
    # `order` is a permutation, so its sort indices are the inverse: the position of each customer in the order.
    positions = pc.cast(pc.sort_indices(order), pa.int32())
    has_score = pc.is_valid(customers["churn_probability"])
    return pc.if_else(has_score, pc.add(positions, 1), pa.scalar(None, pa.int32()))


def _microseconds(time: Timestamp) -> int:
    """Return a time in microseconds since 1970."""
    return int(time.seconds * 10**6 + time.nanos // 1000)
