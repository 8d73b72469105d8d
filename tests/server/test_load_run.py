"""Run files into the store: what a reader of the run will need is checked before any of it is kept."""

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
from server.load import load_file
from server.stores.database import Database
from server.stores.risks import RiskStore
from tests.conftest import LOAD_TIME, key_places
from tests.server.runs import FIRST, ChurnFamily
from tests.server.test_load import counts
from training.files import write_table
from training.run import RUN_COLUMNS


def write(churn: ChurnFamily, to: Path, change: Callable[[pd.DataFrame], Any], **manifest: Any) -> Path:
    """Write the first run's customers in FR anew, but for what a test changes; None leaves a key out."""
    table = pq.read_table(churn.first_run)
    said = {**json.loads(table.schema.metadata[b"grounds"]), **manifest}
    rows = table.to_pandas()
    rows = rows[rows["market"] == "FR"].reset_index(drop=True)
    changed = change(rows)
    rows = rows if changed is None else changed
    columns = [column for column in RUN_COLUMNS if column[0] in rows.columns]
    write_table(to, rows, columns, {key: value for key, value in said.items() if value is not None})
    return to


def put(column: str, value: Any) -> Callable[[pd.DataFrame], None]:
    """Give what puts a value into the first row."""

    def change(rows: pd.DataFrame) -> None:
        rows[column] = [value, *rows[column].tolist()[1:]]

    return change


def as_it_is(_rows: pd.DataFrame) -> None:
    """Change nothing."""


def test_a_run_is_loaded_market_by_market_and_again_changes_nothing(
    database: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    places = key_places(tmp_path)
    first, second = (load_file(database, churn_family.first_run, LOAD_TIME, places) for _ in range(2))

    runs = [RiskStore(database).newest_run(market) for market in ("DE", "FR", "IT")]
    assert (first.added, first.known, second.added, second.known) == (1040, 0, 0, 1040)
    assert [run and run.customer_count for run in runs] == [1010, 30, None]
    assert counts(database) == {"features": 0, "runs": 2, "risks": 1040}


def test_a_run_reads_back_in_both_orders_on_every_database(
    database: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load_file(database, churn_family.first_run, LOAD_TIME, key_places(tmp_path))
    store = RiskStore(database)
    run = store.newest_run("DE")
    assert run is not None

    by_rank, by_value = (store.page(run, order, None, 2000) for order in ("PROBABILITY", "VALUE_AT_RISK"))

    assert [row.rank for row in by_rank] == list(range(1, 1011))
    assert sorted(row.customer_id for row in by_value) == sorted(row.customer_id for row in by_rank)
    values = [row.value_at_risk_minor for row in by_value]
    assert values == sorted(values, reverse=True)


def test_the_run_as_it_is_is_loaded(empty: Database, churn_family: ChurnFamily, tmp_path: Path) -> None:
    path = write(churn_family, tmp_path / "run.parquet", as_it_is)

    done = load_file(empty, path, LOAD_TIME, key_places(tmp_path))

    assert done.added == 30


BAD: dict[str, tuple[Callable[[pd.DataFrame], Any], dict[str, Any], str]] = {
    "a column less": (lambda rows: rows.drop(columns="band"), {}, "'band' must be string"),
    "a customer twice": (put("customer_id", "C00701"), {}, "repeat"),
    "two times": (put("as_of", FIRST - pd.Timedelta(days=1)), {}, "one as_of, not 2"),
    "a contribution less": (put("contributions", [0.0]), {}, "'contributions' must hold 4 values in every row"),
    "a value less": (put("features", [0.0]), {}, "'features' must hold 4 values in every row"),
    "no contributions": (put("contributions", None), {}, "contributions"),
    "a contribution that is missing": (put("contributions", [0.0, 0.0, None, 0.0]), {}, "contributions"),
    "contributions that do not add up": (put("contributions", [9.0, 9.0, 9.0, 9.0]), {}, "contributions"),
    "no log-odds": (put("log_odds", math.nan), {}, "log_odds"),
    "log-odds without end": (put("log_odds", math.inf), {}, "log_odds"),
    "a pd that is missing": (put("pd", None), {}, "pd"),
    "a pd above one": (put("pd", 1.5), {}, "pd"),
    "a pd that is not that of the log-odds": (put("pd", 0.5), {}, "pd"),
    "a band that is none": (put("band", "GIGANTIC"), {}, "band"),
    "a band that is missing": (put("band", None), {}, "band"),
    "a rank twice": (put("rank", 2), {}, "rank"),
    "a rank of zero": (put("rank", 0), {}, "rank"),
    "drivers that are no JSON": (put("drivers", "late"), {}, "drivers"),
    "drivers without words": (put("drivers", '[{"code": "DELAY"}]'), {}, "drivers"),
    "drivers without English": (
        put("drivers", '[{"code": "A", "log_odds": 1, "features": [], "texts": {"de": "x"}}]'),
        {},
        "drivers",
    ),
    "a run_id that is none": (as_it_is, {"run_id": "7"}, "run_id must be 32 hexadecimal digits"),
    "no bundle": (as_it_is, {"bundle_id": None}, "lacks bundle_id"),
    "no currency": (as_it_is, {"currency": ""}, "currency"),
    "a group less": (as_it_is, {"feature_groups": ["DELAY"]}, "feature_groups"),
    "no baseline": (as_it_is, {"baseline_sha256": None}, "baseline_sha256"),
    "no size of the baseline": (as_it_is, {"baseline_rows": None}, "baseline_rows"),
    "no words for the baseline": (as_it_is, {"baseline_definition": None}, "baseline_definition"),
    "no family": (as_it_is, {"family": None}, "family"),
    "a base that is no number": (as_it_is, {"base_value": "zero"}, "base_value"),
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
        load_file(empty, path, LOAD_TIME, key_places(tmp_path))

    assert str(path) in str(caught.value)
    assert counts(empty) == {"features": 0, "runs": 0, "risks": 0}


def test_the_bands_of_the_contract_are_those_of_a_run(churn_family: ChurnFamily) -> None:
    bands = set(pq.read_table(churn_family.first_run, columns=["band"])["band"].to_pylist())

    assert {f"RISK_BAND_{band}" for band in bands} == {*pb.RiskBand.keys()} - {"RISK_BAND_UNSPECIFIED"}
