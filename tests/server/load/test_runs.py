"""Run files into the store: what a reader of the run will need is checked before any of it is kept."""

import datetime as dt
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.errors import LoadRefused
from server.load.manifest import _BAND_NAMES, STATUSES
from server.stores.database import Database
from server.stores.runs.predictions import PredictionQuery, PredictionStore
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import FIRST, ChurnFamily, write_rows
from tests.server.load.test_files import counts
from tests.server.loading import load_file


def write(churn: ChurnFamily, to: Path, change: Callable[[pd.DataFrame], Any], **manifest: Any) -> Path:
    """Write the first run's customers in FR anew, but for what a test changes; None leaves a key out."""
    table = pq.read_table(churn.first_run)
    rows = pd.DataFrame(table.to_pylist())
    rows = rows[rows["market"] == "FR"].reset_index(drop=True)
    said = {**json.loads(table.schema.metadata[b"grounds"]), "counts": {"SCORED": len(rows)}, **manifest}
    changed = change(rows)
    return write_rows(to, rows if changed is None else changed, said)


def put(column: str, value: Any) -> Callable[[pd.DataFrame], None]:
    """Give what puts a value into the first row."""

    def change(rows: pd.DataFrame) -> None:
        rows[column] = pd.Series([value, *rows[column].tolist()[1:]], dtype=object)

    return change


def as_it_is(_rows: pd.DataFrame) -> None:
    """Change nothing."""


def test_a_run_is_loaded_market_by_market_and_again_changes_nothing(
    database: Database, churn_family: ChurnFamily
) -> None:
    first, second = (load_file(database, churn_family.first_run, LOAD_TIME) for _ in range(2))

    runs = [PredictionStore(database).find_newest_run(market) for market in ("DE", "FR", "IT")]
    assert (first.added, first.known, second.added, second.known) == (1040, 0, 0, 1040)
    assert [run and run.customer_count for run in runs] == [1010, 30, None]
    assert counts(database) == {"features": 0, "runs": 2, "risks": 1040}


def test_a_run_reads_back_in_both_orders_on_every_database(database: Database, churn_family: ChurnFamily) -> None:
    load_file(database, churn_family.first_run, LOAD_TIME)
    store = PredictionStore(database)
    run = store.find_newest_run("DE")
    assert run is not None

    by_rank, by_value = (
        store.read_page(run, PredictionQuery(order), None, 2000) for order in ("PROBABILITY", "VALUE_AT_RISK")
    )

    assert [row.rank for row in by_rank] == list(range(1, 1011))
    assert sorted(row.customer_id for row in by_value) == sorted(row.customer_id for row in by_rank)
    values = [row.value_at_risk_minor for row in by_value]
    assert values == sorted(values, reverse=True)


def test_the_run_as_it_is_is_loaded(empty: Database, churn_family: ChurnFamily, tmp_path: Path) -> None:
    path = write(churn_family, tmp_path / "run.parquet", as_it_is)

    done = load_file(empty, path, LOAD_TIME)

    assert done.added == 30


UNSCORED: dict[str, Any] = {
    "status": "CLOSED",
    **dict.fromkeys(("log_odds", "pd", "band", "rank", "value_at_risk_minor", "expected_spend_minor", "drivers")),
    "features": [],
    "contributions": [],
}
COUNTS = {"counts": {"SCORED": 29, "CLOSED": 1}}


def last_is_unscored(**but: Any) -> Callable[[pd.DataFrame], None]:
    """Give what takes the last customer's score, but for what a test leaves."""

    def change(rows: pd.DataFrame) -> None:
        for column, value in {**UNSCORED, **but}.items():
            rows[column] = pd.Series([*rows[column].tolist()[:-1], value], dtype=object)

    return change


def swap_ranks(rows: pd.DataFrame) -> None:
    """Let the second and the third change places."""
    rows["rank"] = [1, 3, 2, *rows["rank"].tolist()[3:]]


def test_a_customer_without_a_score_is_loaded_with_a_status(
    empty: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    path = write(churn_family, tmp_path / "run.parquet", last_is_unscored(), **COUNTS)

    done = load_file(empty, path, LOAD_TIME)

    run = PredictionStore(empty).find_newest_run("FR")
    assert run is not None
    assert (done.added, run.customer_count, run.scored_count) == (30, 30, 29)


DRIVER = '{"code": "A", "log_odds": 1, "features": [], "texts": {"en": "x"}}'
BAD: dict[str, tuple[Callable[[pd.DataFrame], Any], dict[str, Any], str]] = {
    "a column less": (lambda rows: rows.drop(columns="band"), {}, "'band' must be string"),
    "a customer twice": (put("customer_id", "C00701"), {}, "repeat"),
    "two times": (put("as_of", FIRST - dt.timedelta(days=1)), {}, "one as_of, not 2"),
    "a contribution less": (put("contributions", [0.0]), {}, "'contributions' must hold 4 values in every row"),
    "a value less": (put("features", [0.0]), {}, "'features' must hold 4 values in every row"),
    "a value without end": (put("features", [0.0, math.inf, 0.0, 0.0]), {}, "'features' must hold no infinite"),
    "no contributions": (put("contributions", None), {}, "contributions"),
    "a contribution that is missing": (put("contributions", [0.0, 0.0, None, 0.0]), {}, "contributions"),
    "contributions that do not add up": (put("contributions", [9.0, 9.0, 9.0, 9.0]), {}, "contributions.*add up"),
    "no log-odds": (put("log_odds", math.nan), {}, "log_odds"),
    "log-odds without end": (put("log_odds", math.inf), {}, "'log_odds' must hold finite"),
    "a pd that is missing": (put("pd", None), {}, "pd"),
    "a pd above one": (put("pd", 1.5), {}, "pd"),
    "a pd that is not that of the log-odds": (put("pd", 0.999999), {}, "'pd' must be 1 / .*to the bit"),
    "a pd of decline above one": (put("decline_pd", 1.5), {}, "'decline_pd' must hold probabilities"),
    "a band that is none": (put("band", "GIGANTIC"), {}, "band"),
    "a band that is not that of the pd": (put("band", "LOW"), {}, "'band' must hold the band of the pd"),
    "a band that is missing": (put("band", None), {}, "'band' has gaps"),
    "no value at risk": (put("value_at_risk_minor", None), {}, "'value_at_risk_minor' has gaps"),
    "no expected spend": (put("expected_spend_minor", None), {}, "'expected_spend_minor' has gaps"),
    "a rank twice": (put("rank", 2), {}, "'rank' must hold 1 to 30"),
    "a rank of zero": (put("rank", 0), {}, "'rank' must hold 1 to 30"),
    "ranks that do not follow the pd": (swap_ranks, {}, "'rank' must follow falling pd"),
    "a status that is none": (
        put("status", "GONE"),
        {"counts": {"SCORED": 29, "GONE": 1}},
        "'status' must hold one of",
    ),
    "a status that is missing": (put("status", None), {"counts": {"SCORED": 29}}, "counts by status"),
    "counts of others": (lambda _: None, {"counts": {"SCORED": 31}}, "counts by status"),
    "nobody knows who is held out": (put("hold_out", None), {}, "'hold_out' has gaps"),
    "no suppressions": (put("suppressions", None), {}, "'suppressions' has gaps"),
    "a suppression that is no code": (put("suppressions", ["do not call"]), {}, "'suppressions' must hold codes"),
    "a suppression with a comma": (put("suppressions", ["A,B"]), {}, "'suppressions' must hold codes"),
    "a score of a customer who has none": (last_is_unscored(pd=0.5), COUNTS, "'pd' must be empty where"),
    "features of a customer without a score": (
        last_is_unscored(features=[1.0] * 4),
        COUNTS,
        "'features' must be empty",
    ),
    "drivers that are missing": (put("drivers", None), {}, "'drivers' has gaps"),
    "drivers that are no JSON": (put("drivers", "late"), {}, "drivers"),
    "drivers that are two documents": (put("drivers", '[]}\n{"d":[]'), {}, "drivers"),
    "drivers that are two documents on one line": (put("drivers", '[]} {"d": []'), {}, "drivers"),
    "drivers that are a number": (put("drivers", "[1]"), {}, "drivers"),
    "drivers without words": (put("drivers", '[{"code": "DELAY"}]'), {}, "drivers"),
    "a driver that is nothing": (put("drivers", "[null]"), {}, "drivers"),
    "a driver whose code is none": (put("drivers", f"[{DRIVER.replace('A', 'a b')}]"), {}, "drivers"),
    "a driver without a number": (put("drivers", f"[{DRIVER.replace('1', 'null')}]"), {}, "drivers"),
    "words that are numbers": (put("drivers", DRIVER.replace('"x"', "7").join("[]")), {}, "drivers"),
    "drivers without English": (put("drivers", f"[{DRIVER.replace('en', 'de')}]"), {}, "drivers"),
    "a run_id that is none": (as_it_is, {"run_id": "7"}, "run_id"),
    "no bundle": (as_it_is, {"bundle_id": None}, "lacks bundle_id"),
    "no currency": (as_it_is, {"currency": ""}, "currency"),
    "a group less": (as_it_is, {"feature_groups": ["DELAY"]}, "feature_groups"),
    "no baseline": (as_it_is, {"baseline_sha256": None}, "baseline_sha256"),
    "no size of the baseline": (as_it_is, {"baseline_rows": None}, "baseline_rows"),
    "no words for the baseline": (as_it_is, {"baseline_definition": None}, "baseline_definition"),
    "no family": (as_it_is, {"family": None}, "family"),
    "a base that is no number": (as_it_is, {"base_value": "zero"}, "base_value"),
    "bands that fall": (
        as_it_is,
        {"bands": [{"band": "HIGH", "max_pd": 0.5}, {"band": "LOW", "max_pd": 1.0}]},
        "bands must rise",
    ),
    "bounds that fall": (
        as_it_is,
        {"bands": [{"band": "LOW", "max_pd": 0.5}, {"band": "HIGH", "max_pd": 0.4}]},
        "bands must rise",
    ),
    "a margin below zero": (as_it_is, {"band_margin_log_odds": -0.1}, "band_margin_log_odds"),
    "no days": (as_it_is, {"valid_days": None}, "lacks valid_days"),
    "the format before": (as_it_is, {"format": 1}, "format 1, .*score it again"),
    "a newer format": (as_it_is, {"format": 3}, "format 3; this release reads up to 2"),
}


@pytest.mark.parametrize(("change", "manifest", "told"), BAD.values(), ids=BAD)
def test_a_run_that_could_not_be_read_to_the_crm_is_refused_and_nothing_of_it_is_loaded(
    empty: Database,
    churn_family: ChurnFamily,
    tmp_path: Path,
    change: Callable[[pd.DataFrame], Any],
    manifest: dict[str, Any],
    told: str,
) -> None:
    path = write(churn_family, tmp_path / "bad.parquet", change, **manifest)

    with pytest.raises(LoadRefused, match=told) as caught:
        load_file(empty, path, LOAD_TIME)

    assert str(path) in str(caught.value)
    assert counts(empty) == {"features": 0, "runs": 0, "risks": 0}


def test_the_bands_of_the_contract_are_those_of_a_run(churn_family: ChurnFamily) -> None:
    bands = set(pq.read_table(churn_family.first_run, columns=["band"])["band"].to_pylist())

    assert bands == set(_BAND_NAMES)
    assert [f"RISK_BAND_{band}" for band in _BAND_NAMES] == pb.RiskBand.keys()[1:]
    assert [f"CHURN_STATUS_{status}" for status in STATUSES] == pb.ChurnStatus.keys()[1:]


def test_a_run_of_the_same_name_and_other_content_is_refused(
    empty: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load_file(empty, write(churn_family, tmp_path / "run.parquet", as_it_is), LOAD_TIME)

    with pytest.raises(LoadRefused, match="loaded already, from a file with other content"):
        load_file(empty, write(churn_family, tmp_path / "other.parquet", put(column="hold_out", value=True)), LOAD_TIME)
