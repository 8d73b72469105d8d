"""Loading run files: a file is checked completely before any row is stored."""

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
    """Write the FR customers of the first run to a new file, with changes; a manifest value None removes the key."""
    table = pq.read_table(churn.first_run)
    rows = pd.DataFrame(table.to_pylist())
    rows = rows[rows["market"] == "FR"].reset_index(drop=True)
    metadata = {**json.loads(table.schema.metadata[b"grounds"]), "counts": {"SCORED": len(rows)}, **manifest}
    changed = change(rows)
    return write_rows(to, rows if changed is None else changed, metadata)


def put(column: str, value: Any) -> Callable[[pd.DataFrame], None]:
    """Return a function that sets a value in the first row."""

    def change(rows: pd.DataFrame) -> None:
        rows[column] = pd.Series([value, *rows[column].tolist()[1:]], dtype=object)

    return change


def as_it_is(_rows: pd.DataFrame) -> None:
    """Leave the rows unchanged."""


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
    """Return a function that removes the last customer's score, except for the given values."""

    def change(rows: pd.DataFrame) -> None:
        for column, value in {**UNSCORED, **but}.items():
            rows[column] = pd.Series([*rows[column].tolist()[:-1], value], dtype=object)

    return change


def swap_ranks(rows: pd.DataFrame) -> None:
    """Exchange the ranks of the second and the third customer."""
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
    "a missing column": (lambda rows: rows.drop(columns="band"), {}, "'band' must exist with type string"),
    "a customer twice": (put("customer_id", "C00701"), {}, "have the same market, customer_id and as_of"),
    "two cuts": (put("as_of", FIRST - dt.timedelta(days=1)), {}, "'as_of': must be the same in every row, found 2"),
    "one contribution too few": (put("contributions", [0.0]), {}, "'contributions': must have 4 values in every row"),
    "one feature too few": (put("features", [0.0]), {}, "'features': must have 4 values in every row"),
    "an infinite feature": (
        put("features", [0.0, math.inf, 0.0, 0.0]),
        {},
        "'features': must not contain infinite values",
    ),
    "no contributions": (put("contributions", None), {}, "contributions"),
    "a missing contribution": (put("contributions", [0.0, 0.0, None, 0.0]), {}, "contributions"),
    "contributions that do not add up": (
        put("contributions", [9.0, 9.0, 9.0, 9.0]),
        {},
        "contributions.*must equal log_odds",
    ),
    "no log-odds": (put("log_odds", math.nan), {}, "log_odds"),
    "infinite log-odds": (put("log_odds", math.inf), {}, "'log_odds': must be finite"),
    "a missing pd": (put("pd", None), {}, "pd"),
    "a pd above one": (put("pd", 1.5), {}, "pd"),
    "a pd that does not follow from the log-odds": (put("pd", 0.999999), {}, "'pd': must equal 1 / .*to the bit"),
    "a decline_pd above one": (put("decline_pd", 1.5), {}, "'decline_pd': must be a probability"),
    "an unknown band": (put("band", "GIGANTIC"), {}, "band"),
    "a band that does not follow from the pd": (put("band", "LOW"), {}, "'band': must be the band that pd falls into"),
    "a missing band": (put("band", None), {}, "'band': must have no missing values"),
    "no value at risk": (put("value_at_risk_minor", None), {}, "'value_at_risk_minor': must have no missing values"),
    "no expected spend": (put("expected_spend_minor", None), {}, "'expected_spend_minor': must have no missing values"),
    "a duplicate rank": (put("rank", 2), {}, "'rank': must contain each number from 1 to 30"),
    "a rank of zero": (put("rank", 0), {}, "'rank': must contain each number from 1 to 30"),
    "ranks that do not follow the pd": (swap_ranks, {}, "'rank': must be in the order of descending pd"),
    "an unknown status": (
        put("status", "GONE"),
        {"counts": {"SCORED": 29, "GONE": 1}},
        "'status': must be one of",
    ),
    "a missing status": (
        put("status", None),
        {"counts": {"SCORED": 29}},
        "counts: must equal the number of rows for each status",
    ),
    "wrong counts": (
        lambda _: None,
        {"counts": {"SCORED": 31}},
        "counts: must equal the number of rows for each status",
    ),
    "a missing hold_out": (put("hold_out", None), {}, "'hold_out': must have no missing values"),
    "missing suppressions": (put("suppressions", None), {}, "'suppressions': must have no missing values"),
    "a suppression that is not a code": (
        put("suppressions", ["do not call"]),
        {},
        "'suppressions': must contain codes",
    ),
    "a suppression with a comma": (put("suppressions", ["A,B"]), {}, "'suppressions': must contain codes"),
    "a pd without a score": (last_is_unscored(pd=0.5), COUNTS, "'pd': must be empty where"),
    "features without a score": (
        last_is_unscored(features=[1.0] * 4),
        COUNTS,
        "'features': must be empty",
    ),
    "missing drivers": (put("drivers", None), {}, "'drivers': must have no missing values"),
    "drivers that are not JSON": (put("drivers", "late"), {}, "drivers"),
    "drivers that are two documents": (put("drivers", '[]}\n{"d":[]'), {}, "drivers"),
    "drivers that are two documents on one line": (put("drivers", '[]} {"d": []'), {}, "drivers"),
    "drivers that are numbers": (put("drivers", "[1]"), {}, "drivers"),
    "a driver without texts": (put("drivers", '[{"code": "DELAY"}]'), {}, "drivers"),
    "a null driver": (put("drivers", "[null]"), {}, "drivers"),
    "a driver with an invalid code": (put("drivers", f"[{DRIVER.replace('A', 'a b')}]"), {}, "drivers"),
    "a driver without a number": (put("drivers", f"[{DRIVER.replace('1', 'null')}]"), {}, "drivers"),
    "a text that is a number": (put("drivers", DRIVER.replace('"x"', "7").join("[]")), {}, "drivers"),
    "drivers without English": (put("drivers", f"[{DRIVER.replace('en', 'de')}]"), {}, "drivers"),
    "an invalid run_id": (as_it_is, {"run_id": "7"}, "run_id"),
    "no bundle": (as_it_is, {"bundle_id": None}, "missing bundle_id"),
    "no currency": (as_it_is, {"currency": ""}, "currency"),
    "one feature group too few": (as_it_is, {"feature_groups": ["DELAY"]}, "feature_groups"),
    "no baseline": (as_it_is, {"baseline_sha256": None}, "baseline_sha256"),
    "no baseline_rows": (as_it_is, {"baseline_rows": None}, "baseline_rows"),
    "no baseline_definition": (as_it_is, {"baseline_definition": None}, "baseline_definition"),
    "no family": (as_it_is, {"family": None}, "family"),
    "a base_value that is not a number": (as_it_is, {"base_value": "zero"}, "base_value"),
    "descending bands": (
        as_it_is,
        {"bands": [{"band": "HIGH", "max_pd": 0.5}, {"band": "LOW", "max_pd": 1.0}]},
        "bands: must be in the order",
    ),
    "descending bounds": (
        as_it_is,
        {"bands": [{"band": "LOW", "max_pd": 0.5}, {"band": "HIGH", "max_pd": 0.4}]},
        "bands: must be in the order",
    ),
    "a negative margin": (as_it_is, {"band_margin_log_odds": -0.1}, "band_margin_log_odds"),
    "no valid_days": (as_it_is, {"valid_days": None}, "missing valid_days"),
    "an older format": (as_it_is, {"format": 1}, "run format 1 is unsupported; score the run again"),
    "a newer format": (as_it_is, {"format": 3}, "format 3 is unsupported; this release reads formats up to 2"),
}


@pytest.mark.parametrize(("change", "manifest", "message"), BAD.values(), ids=BAD)
def test_an_invalid_run_is_refused_and_nothing_of_it_is_loaded(
    empty: Database,
    churn_family: ChurnFamily,
    tmp_path: Path,
    change: Callable[[pd.DataFrame], Any],
    manifest: dict[str, Any],
    message: str,
) -> None:
    path = write(churn_family, tmp_path / "bad.parquet", change, **manifest)

    with pytest.raises(LoadRefused, match=message) as caught:
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

    with pytest.raises(LoadRefused, match="was already loaded from a file with different content"):
        load_file(empty, write(churn_family, tmp_path / "other.parquet", put(column="hold_out", value=True)), LOAD_TIME)
