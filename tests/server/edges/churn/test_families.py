"""A market has runs of several families, and none of them changes the predictions or copies of another."""

import datetime as dt
from pathlib import Path

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.churn_copies import Copy, synchronize
from tests.server.churn_runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error, customer

FOOD = {"A": 3.0, "B": 1.0, "C": -1.0}
TOOLS = {"B": -2.0, "D": 2.0}


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


def load(
    serving: Serving, churn: ChurnFamily, path: Path, family: str, log_odds: dict[str, float], as_of: dt.datetime
) -> None:
    """Load a run of a family."""
    rows = plain_rows(churn.model, log_odds, as_of)
    load_file(serving.application.database, write_run(path, churn.model, rows, family=family), utc_now())


async def list_ids(serving: Serving, family: str = "") -> str:
    """Return the customers of a list."""
    page = await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", family=family))
    return "".join(risk.customer.customer_id for risk in page.churn_risks)


async def test_a_run_of_another_family_changes_no_list_and_no_copy_of_the_first(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    copy: Copy = {}
    load(serving, churn_family, tmp_path / "1", "churn", FOOD, FIRST)
    token = await synchronize(serving, copy)
    before = {key: risk.SerializeToString(deterministic=True) for key, risk in copy.items()}

    load(serving, churn_family, tmp_path / "2", "churn_tools", TOOLS, SECOND)
    token = await synchronize(serving, copy, delta_token=token)

    assert {key: risk.SerializeToString(deterministic=True) for key, risk in copy.items()} == before
    assert await list_ids(serving) == await list_ids(serving, "churn") == "ABC"
    assert await list_ids(serving, "churn_tools") == "DB"
    load(serving, churn_family, tmp_path / "3", "churn", {"A": 3.0, "E": 0.0}, THIRD)
    await synchronize(serving, copy, delta_token=token)
    assert sorted(copy) == ["A", "E"]
    tools: Copy = {}
    await synchronize(serving, tools, family="churn_tools")
    assert sorted(tools) == ["B", "D"]
    runs = (await serving.churn.ListChurnRuns(pb.ListChurnRunsRequest())).runs
    assert [(run.market, run.family, run.customer_count) for run in runs] == [
        ("DE", "churn", 2),
        ("DE", "churn_tools", 2),
    ]


async def test_each_family_has_its_own_bands_and_previous_run(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "1", "churn", {"B": 3.0}, FIRST)
    load(serving, churn_family, tmp_path / "2", "churn_tools", {"B": -3.0}, SECOND)
    load(serving, churn_family, tmp_path / "3", "churn", {"B": 3.0}, THIRD)

    risks = {}
    for family in ("churn", "churn_tools"):
        request = pb.GetChurnRiskRequest(customer=customer("DE", "B"), family=family)
        risks[family] = (await serving.churn.GetChurnRisk(request)).churn_risk

    assert risks["churn"].risk_band == pb.RISK_BAND_CRITICAL
    assert risks["churn"].band_since_time.ToDatetime() == FIRST.replace(tzinfo=None)
    assert risks["churn_tools"].previous_band == pb.RISK_BAND_UNSPECIFIED
    assert risks["churn_tools"].risk_band == pb.RISK_BAND_LOW
    runs = {run.family: run for run in (await serving.churn.ListChurnRuns(pb.ListChurnRunsRequest())).runs}
    assert runs["churn_tools"].previous_run_id == ""
    assert runs["churn"].previous_run_id not in ("", runs["churn_tools"].run_id)


async def test_a_market_without_the_family_churn_requires_a_family_if_it_has_several(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "1", "churn_food", FOOD, FIRST)
    assert await list_ids(serving) == "ABC"
    load(serving, churn_family, tmp_path / "2", "churn_tools", TOOLS, SECOND)

    for call in (
        serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE")),
        serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("DE", "B"))),
        serving.churn.BatchGetChurnRisks(pb.BatchGetChurnRisksRequest(customers=[customer("DE", "B")])),
        serving.churn.ListChurnRiskChanges(pb.ListChurnRiskChangesRequest(market="DE")),
    ):
        error = await call_error(call)
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FAMILY_REQUIRED")
        assert error.metadata == {"market": "DE", "families": "churn_food, churn_tools"}
    unknown = await call_error(serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", family="none")))
    assert unknown.reason == "NO_RUN"


async def test_a_token_stays_with_its_family(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path / "1", "churn_food", FOOD, FIRST)
    copy: Copy = {}
    token = await synchronize(serving, copy)
    load(serving, churn_family, tmp_path / "2", "churn_tools", TOOLS, SECOND)

    await synchronize(serving, copy, delta_token=token)
    other = pb.ListChurnRiskChangesRequest(market="DE", delta_token=token, include_withheld=True, family="churn_tools")
    error = await call_error(serving.churn.ListChurnRiskChanges(other))

    assert sorted(copy) == ["A", "B", "C"]
    assert error.reason == "RESYNC_REQUIRED"
