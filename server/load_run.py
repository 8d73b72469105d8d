"""Run files into the database: everything that a reader will need is checked before any of it is kept."""

import datetime as dt
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from models.documents import Code, Family, Locale, Sha256
from models.scorecard import pd_of
from server.errors import LoadRefused
from server.stores.doubles import pack
from server.stores.records import RecordLog
from server.stores.run_records import MarketRows, RunFacts, digest_of, record_run, row_sha256
from server.stores.tables import RISKS, RUNS

BATCH_ROWS = 5000
SUM_MAX = 1e-9  # what the addition of a customer's contributions may leave over
BANDS = {"LOW", "MEDIUM", "HIGH", "CRITICAL"}  # those of the contract
RUN_COLUMNS = {
    "log_odds": pa.float64(),
    "pd": pa.float64(),
    "band": pa.string(),
    "rank": pa.int32(),
    "value_at_risk_minor": pa.int64(),
    "drivers": pa.string(),
    "features": pa.list_(pa.float64()),
    "contributions": pa.list_(pa.float64()),
}


class RunManifest(BaseModel):
    """The manifest of a run file, as far as readers of the run need it."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    family: Family
    run_id: str
    bundle_id: Sha256
    feature_names: list[str] = Field(min_length=1)
    feature_groups: list[str]
    base_value: float
    method: Literal["interventional", "path_dependent"]
    baseline_sha256: Sha256
    baseline_rows: int = Field(ge=1)
    baseline_definition: str = Field(min_length=1)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Driver(BaseModel):
    """One driver of a customer, in words."""

    code: Code
    log_odds: float
    features: list[str]
    texts: dict[Locale, str]


DRIVERS = TypeAdapter(list[Driver])


@dataclass(frozen=True, slots=True)
class Loading:
    """Where a run goes: the log that records it, and the transaction that adds it."""

    connection: Connection
    log: RecordLog
    time: dt.datetime


def load_run(to: Loading, path: Path, table: pa.Table, manifest: dict[str, Any]) -> tuple[int, int]:
    """Add a run, one line per market, with all its customers; gives how many are new, and how many were known.

    Raises:
        LoadRefused: Something that a reader needs is missing or wrong.
    """
    check_manifest(path, manifest)
    connection, markets = to.connection, []
    known = connection.execute(select(RUNS.c.customer_count).where(RUNS.c.run_id == manifest["run_id"])).scalars().all()
    if known:
        return 0, sum(known)
    check_rows(path, table, manifest)
    for market in pc.unique(table["market"]).to_pylist():
        part = table.filter(pc.equal(table["market"], market))
        times = pc.unique(part["as_of"]).to_pylist()
        if len(times) != 1:
            raise LoadRefused(f"{path}: market {market}: a run has one as_of, not {len(times)}")
        if sorted(part["rank"].to_pylist()) != list(range(1, part.num_rows + 1)):
            raise LoadRefused(f"{path}: market {market}: column 'rank' must hold 1 to {part.num_rows}, each once")
        connection.execute(RUNS.insert().values(**run_line(manifest, market, times[0], part.num_rows, to.time)))
        hashes = []
        for batch in part.to_batches(BATCH_ROWS):
            rows = [risk_line(manifest["run_id"], row) for row in batch.to_pylist()]
            connection.execute(RISKS.insert(), rows)
            hashes += [row_sha256(row) for row in rows]
        markets.append(MarketRows(market, times[0], part.num_rows, digest_of(hashes)))
    facts = RunFacts(manifest["run_id"], manifest["bundle_id"], manifest["baseline_sha256"], markets)
    record_run(connection, to.log, facts, to.time)
    return table.num_rows, 0


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse a manifest that does not say what the run is."""
    try:
        checked = RunManifest.model_validate(manifest)
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise LoadRefused(f"{path}: the manifest: {'; '.join(problems)}") from error
    if not (len(checked.run_id) == 32 and set(checked.run_id) <= set("0123456789abcdef")):  # noqa: PLR2004
        raise LoadRefused(f"{path}: the manifest's run_id must be 32 hexadecimal digits")
    if len(checked.feature_groups) != len(checked.feature_names):
        raise LoadRefused(f"{path}: the manifest's feature_groups must be as many as its feature_names")


def check_rows(path: Path, table: pa.Table, manifest: dict[str, Any]) -> None:
    """Refuse a customer of whom a reader could not be told everything."""
    width, base = len(manifest["feature_names"]), manifest["base_value"]
    for name in RUN_COLUMNS:
        if table[name].null_count:
            raise LoadRefused(f"{path}: column {name!r} has gaps")
    for column in ("features", "contributions"):
        if pc.unique(pc.list_value_length(table[column])).to_pylist() != [width]:
            raise LoadRefused(f"{path}: column {column!r} must hold {width} values in every row")
    for row in table.select(["log_odds", "pd", "band", "drivers", "contributions"]).to_pylist():
        if problem := problem_of(row, base):
            raise LoadRefused(f"{path}: {problem}")


def problem_of(row: dict[str, Any], base: float) -> str:
    """Say what is wrong with a customer's line, without naming the customer; empty where nothing is."""
    log_odds, parts = row["log_odds"], row["contributions"]
    whole = all(number is not None and math.isfinite(number) for number in (log_odds, *parts))
    rules = {
        "column 'log_odds' must hold finite numbers": math.isfinite(log_odds),
        "column 'contributions' must hold finite numbers": whole,
        "column 'pd' must be 1 / (1 + exp(-log_odds)), to the bit": whole and row["pd"] == pd_of(log_odds),
        f"column 'contributions' must add up with base_value to log_odds within {SUM_MAX:g}": whole
        and abs(math.fsum([base, *parts]) - log_odds) <= SUM_MAX,
        f"column 'band' must hold one of {', '.join(sorted(BANDS))}": row["band"] in BANDS,
        "column 'drivers' must hold a JSON list of code, log_odds, features and texts, one of them in 'en'": said(
            row["drivers"]
        ),
    }
    return next((problem for problem, holds in rules.items() if not holds), "")


def said(drivers: str) -> bool:
    """Tell whether drivers can be shown to everybody."""
    try:
        return all("en" in driver.texts for driver in DRIVERS.validate_json(drivers))
    except ValidationError:
        return False


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
