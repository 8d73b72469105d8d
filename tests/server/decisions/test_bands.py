"""Risk bands with hysteresis, and the previous band of each customer."""

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounds.churn.v1 import churn_pb2 as pb
from server.decisions.bands import hysteresis_bands, threshold_bands
from server.edges.churn.messages import RiskWriter, run_message
from server.stores.database import Database
from server.stores.runs.predictions import PredictionStore
from tests.server.churn_runs import FIRST, MARGIN, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file

BOUNDS = (0.2, 0.4, 0.6, 1.0)
LOAD_TIME = THIRD + dt.timedelta(days=60)  # after the as-of time of every run, because a load refuses a later one


def logit(pd_: float) -> float:
    """Return the log-odds of a probability."""
    return math.log(pd_ / (1 - pd_))


def expected_band(log_odds: float, previous: int, margin: float) -> int:
    """Return the expected band: a customer leaves the previous band only beyond its bound by the margin."""
    pd_ = 1 / (1 + math.exp(-log_odds))
    plain = next((place for place, bound in enumerate(BOUNDS) if pd_ <= bound), 3)
    if previous < 0:
        return plain
    above = previous < 3 and log_odds > logit(BOUNDS[previous]) + margin
    below = previous > 0 and log_odds < logit(BOUNDS[previous - 1]) - margin
    return plain if above or below else previous


@given(
    st.lists(st.tuples(st.floats(-6, 6), st.integers(-1, 3)), min_size=1, max_size=50),
    st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)
def test_a_customer_leaves_a_band_only_beyond_its_bound_by_the_margin(
    customers: list[tuple[float, int]], margin: float
) -> None:
    log_odds = np.array([value for value, _ in customers])
    plain = threshold_bands(1 / (1 + np.exp(-log_odds)), np.array(BOUNDS))

    found = hysteresis_bands(log_odds, plain, np.array([band for _, band in customers]), np.array(BOUNDS), margin)

    assert found.tolist() == [expected_band(value, band, margin) for value, band in customers]


def read_risks(database: Database, run_as_of: dt.datetime) -> dict[str, pb.ChurnRisk]:
    """Return the predictions of all customers of the run with this as-of time, as ChurnService returns them."""
    store = PredictionStore(database)
    with database.reading() as connection:
        number = connection.exec_driver_sql(
            f"SELECT run_number FROM runs WHERE as_of = '{run_as_of:%Y-%m-%d %H:%M:%S.%f}'"
        ).scalar_one()
    run = store.read_run(number, "DE")
    return {key: RiskWriter(run, "").message(row) for key, row in store.find_predictions(run, ["A", "B", "C"]).items()}


def band_history(risk: pb.ChurnRisk) -> tuple[str, str, str]:
    """Return the band, the previous band, and the time since which the customer has had the band."""
    names = [pb.RiskBand.Name(band).removeprefix("RISK_BAND_") for band in (risk.risk_band, risk.previous_band)]
    since = f"{risk.band_since_time.ToDatetime():%m}" if risk.HasField("band_since_time") else ""
    return names[0], names[1], since


def write_run_of(churn: ChurnFamily, folder: Path, as_of: dt.datetime, log_odds: dict[str, float | None]) -> Path:
    """Write a run with these customers and log-odds; return the path of the file."""
    name = f"{as_of:%m}-{len(list(folder.iterdir()))}.parquet"
    return write_run(folder / name, churn.model, plain_rows(churn.model, log_odds, as_of))


def test_the_previous_band_survives_a_run_without_a_score(
    database: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    bound = logit(0.4)  # the bound between MEDIUM and HIGH
    inside = bound + MARGIN / 2
    runs: list[tuple[dt.datetime, dict[str, float | None]]] = [
        (FIRST, {"A": bound - 0.01, "B": bound - 0.01, "C": None}),
        (SECOND, {"A": inside, "B": bound + MARGIN + 0.01, "C": 5.0}),
        (THIRD, {"A": bound + MARGIN + 0.01, "B": None, "C": 5.0}),
        (THIRD + dt.timedelta(days=31), {"A": -5.0, "B": bound - 0.01, "C": 5.0}),
    ]
    for as_of, log_odds in runs:
        load_file(database, write_run_of(churn_family, tmp_path, as_of, log_odds), LOAD_TIME)

    store = PredictionStore(database)
    newest = store.find_newest_run("DE")
    assert newest is not None
    histories = {
        key: band_history(RiskWriter(newest, "").message(row))
        for key, row in store.find_predictions(newest, ["A", "B", "C"]).items()
    }

    assert histories == {
        "A": ("LOW", "HIGH", "04"),
        "B": ("MEDIUM", "HIGH", "04"),
        "C": ("CRITICAL", "UNSPECIFIED", "02"),
    }


def test_within_the_margin_band_and_since_are_unchanged(
    empty: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    bound = logit(0.4)
    for as_of, value in ((FIRST, bound - 0.01), (SECOND, bound + MARGIN / 2)):
        load_file(empty, write_run_of(churn_family, tmp_path, as_of, {"A": value, "B": None, "C": value}), LOAD_TIME)

    risks = read_risks(empty, SECOND)

    assert band_history(risks["A"]) == ("MEDIUM", "UNSPECIFIED", "01")
    assert band_history(risks["B"]) == ("UNSPECIFIED", "UNSPECIFIED", "")


def test_a_run_loaded_late_is_compared_with_the_run_before_its_time_and_changes_no_later_run(
    empty: Database, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    values = {FIRST: -5.0, SECOND: 5.0, THIRD: 0.1}
    paths = {
        as_of: write_run_of(churn_family, tmp_path, as_of, {"A": value, "B": 0.0, "C": 0.0})
        for as_of, value in values.items()
    }
    load_file(empty, paths[FIRST], LOAD_TIME)
    load_file(empty, paths[THIRD], LOAD_TIME)
    before = read_risks(empty, THIRD)

    load_file(empty, paths[SECOND], LOAD_TIME + dt.timedelta(days=1))

    store = PredictionStore(empty)
    newest = store.find_newest_run("DE")
    assert newest is not None
    assert newest.as_of == THIRD
    assert read_risks(empty, THIRD) == before
    assert band_history(read_risks(empty, SECOND)["A"]) == ("CRITICAL", "LOW", "02")
    assert run_message(newest).previous_run_id == read_risks(empty, FIRST)["A"].run_id


@pytest.mark.parametrize("market", ["DE", "FR"])
def test_the_previous_run_is_the_latest_with_an_earlier_time_in_the_market(
    empty: Database, churn_family: ChurnFamily, tmp_path: Path, market: str
) -> None:
    load_file(empty, churn_family.first_run, LOAD_TIME)  # the first run has customers in both markets
    rows = pd.concat([plain_rows(churn_family.model, {"A": 1.0}, SECOND, name) for name in ("DE", "IT")])
    load_file(empty, write_run(tmp_path / "next.parquet", churn_family.model, rows), LOAD_TIME)

    runs = {run.market: run for run in PredictionStore(empty).read_newest_runs()}

    assert runs["IT"].previous_run_id is None
    assert runs["DE"].previous_run_id == runs["FR"].run_id
    assert runs[market].as_of == {"DE": SECOND, "FR": FIRST}[market]
