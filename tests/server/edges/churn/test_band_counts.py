"""The number of customers in each band, run by run: what a list of the same band contains."""

import datetime as dt
from pathlib import Path

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.maintenance.erasure import erase_customer
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.churn_runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.edges.churn.test_contacts import opened_log
from tests.server.loading import load_file
from tests.server.requests import call_error

ODDS = {"A": 9.0, "B": 8.5, "C": 0.0, "D": -9.0, "X": None}
BANDS = (pb.RISK_BAND_LOW, pb.RISK_BAND_MEDIUM, pb.RISK_BAND_HIGH, pb.RISK_BAND_CRITICAL)


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


def load(serving: Serving, churn: ChurnFamily, path: Path, as_of: dt.datetime, odds: dict[str, float | None]) -> None:
    """Load a run in which B is held out."""
    rows = plain_rows(churn.model, odds, as_of)
    rows["hold_out"] = rows["customer_id"] == "B"
    load_file(serving.application.database, write_run(path, churn.model, rows), utc_now())


async def count(serving: Serving, runs: int = 0) -> pb.ListChurnBandCountsResponse:
    """Return the answer for the market DE."""
    return await serving.churn.ListChurnBandCounts(pb.ListChurnBandCountsRequest(market="DE", run_count_max=runs))


def counts(run: pb.RunBandCounts) -> dict[int, int]:
    """Return the number of customers by band."""
    return {each.band: each.customer_count for each in run.bands}


async def test_each_band_has_as_many_customers_as_its_list(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "1", FIRST, ODDS)

    (run,) = (await count(serving)).runs

    listed: dict[int, int] = {}
    for band in BANDS:
        wanted = pb.ListChurnRisksRequest(market="DE", risk_bands=[band], include_withheld=True)
        listed[band] = (await serving.churn.ListChurnRisks(wanted)).total_size
    assert counts(run) == {band: size for band, size in listed.items() if size}
    assert sum(listed.values()) == 4
    assert [each.band for each in run.bands] == sorted(counts(run))
    assert (run.unscored_count, run.run.customer_count) == (1, 5)


async def test_the_newest_runs_come_first_and_the_others_are_counted(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    for number, as_of in enumerate((FIRST, SECOND, THIRD)):
        load(serving, churn_family, tmp_path / str(number), as_of, {f"C{each}": 0.0 for each in range(number + 1)})

    everything, two = await count(serving), await count(serving, 2)

    assert [each.run.as_of_time.ToDatetime(dt.UTC) for each in everything.runs] == [THIRD, SECOND, FIRST]
    assert [sum(counts(each).values()) for each in everything.runs] == [3, 2, 1]
    assert list(two.runs) == list(everything.runs)[:2]
    assert (two.kept_run_count, everything.kept_run_count) == (3, 3)


async def test_an_erased_customer_is_not_counted(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path / "1", FIRST, ODDS)
    (before,) = (await count(serving)).runs

    erase_customer(opened_log(serving), ("DE", "D"), "request 7", utc_now())

    (after,) = (await count(serving)).runs
    low = next(iter(counts(before)))
    assert counts(before)[low] == 1
    assert counts(after) == {band: size for band, size in counts(before).items() if band != low}


async def test_a_market_without_a_run_has_no_counts(serving: Serving) -> None:
    error = await call_error(count(serving))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN")
