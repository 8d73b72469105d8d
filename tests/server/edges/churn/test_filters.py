"""Lists of predictions are filtered by band, value and status; batches and the list of the newest runs are complete."""

from typing import Any

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.churn_runs import FIRST, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error, customer

LOW, HIGH, CRITICAL = pb.RISK_BAND_LOW, pb.RISK_BAND_HIGH, pb.RISK_BAND_CRITICAL
VALUE = pb.CHURN_RISK_ORDER_VALUE_AT_RISK
# Customers A to E: churn probabilities 0.05, 0.27, 0.5, 0.73 and 0.95; values at risk 5, 37, 100, 272 and 2009 cents
ODDS = {"A": -3.0, "B": -1.0, "C": 0.0, "D": 1.0, "E": 3.0}


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


@pytest.fixture
async def loaded_serving(serving: Serving, churn_family: ChurnFamily, tmp_path: Any) -> Serving:
    """Serve a run of five scored customers and three without a score."""
    rows = plain_rows(churn_family.model, {**ODDS, "X": None, "Y": None, "Z": None}, FIRST)
    rows.loc[rows["customer_id"] == "Y", "status"] = "CLOSED"
    load_file(serving.application.database, write_run(tmp_path / "run.parquet", churn_family.model, rows), utc_now())
    return serving


WANTED: list[tuple[dict[str, Any], str]] = [
    ({}, "EDCBA"),
    ({"order": VALUE}, "EDCBA"),
    ({"risk_bands": [LOW]}, "A"),
    ({"risk_bands": [CRITICAL, LOW]}, "EDA"),
    ({"risk_bands": [HIGH], "order": VALUE}, "C"),
    ({"value_at_risk_minor_min": 100}, "EDC"),
    ({"value_at_risk_minor_min": 101, "order": VALUE}, "ED"),
    ({"value_at_risk_minor_min": 100, "risk_bands": [CRITICAL]}, "ED"),
    ({"value_at_risk_minor_min": 10**9}, ""),
    ({"status": pb.CHURN_STATUS_SCORED}, "EDCBA"),
    ({"status": pb.CHURN_STATUS_NOT_ENOUGH_HISTORY}, "XZ"),
    ({"status": pb.CHURN_STATUS_CLOSED, "order": VALUE}, "Y"),
    ({"status": pb.CHURN_STATUS_MOVED_ENTITY}, ""),
]


@pytest.mark.parametrize(("fields", "expected"), WANTED, ids=str)
async def test_pages_of_any_size_list_the_matching_customers_in_order(
    loaded_serving: Serving, fields: dict[str, Any], expected: str
) -> None:
    for page_size in (1, 2, 1000):
        request, found = pb.ListChurnRisksRequest(market="DE", page_size=page_size, **fields), ""
        while True:
            page = await loaded_serving.churn.ListChurnRisks(request)
            found += "".join(risk.customer.customer_id for risk in page.churn_risks)
            assert page.total_size == len(expected)
            request.page_token = page.next_page_token
            if not request.page_token:
                break

        assert found == expected


async def test_a_customer_without_a_score_has_a_status_and_no_numbers(loaded_serving: Serving) -> None:
    risk = (await loaded_serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("DE", "Y")))).churn_risk

    assert risk.status == pb.CHURN_STATUS_CLOSED
    assert not risk.action_allowed
    assert risk.risk_band == pb.RISK_BAND_UNSPECIFIED
    for name in ("log_odds", "churn_probability", "rank", "value_at_risk", "expected_spend", "explanation", "drivers"):
        assert not risk.HasField(name)


async def test_an_unknown_band_is_rejected(loaded_serving: Serving) -> None:
    rejected: list[list[Any]] = [[pb.RISK_BAND_UNSPECIFIED], [99], [LOW, LOW]]
    for bands in rejected:
        error = await call_error(
            loaded_serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", risk_bands=bands))
        )

        assert error.reason == "REQUEST_INVALID"
        assert all(field.startswith("risk_bands") for field in error.problems)


def batch(*ids: str) -> pb.BatchGetChurnRisksRequest:
    """Return a request for the predictions of some customers."""
    return pb.BatchGetChurnRisksRequest(customers=[customer("DE", customer_id) for customer_id in ids])


async def test_a_batch_is_answered_in_the_requested_order_or_fails_as_a_whole(loaded_serving: Serving) -> None:
    given = await loaded_serving.churn.BatchGetChurnRisks(batch("C", "X", "A", "C"))
    error = await call_error(loaded_serving.churn.BatchGetChurnRisks(batch("C", "SECRET7", "A")))
    many = await call_error(loaded_serving.churn.BatchGetChurnRisks(batch(*["C"] * 1001)))
    none = await call_error(loaded_serving.churn.BatchGetChurnRisks(batch()))

    assert [risk.customer.customer_id for risk in given.churn_risks] == ["C", "X", "A", "C"]
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN")
    assert error.metadata == {"market": "DE", "index": "1"}
    assert "SECRET7" not in error.everything
    assert [list(refused.problems) for refused in (many, none)] == [["customers"], ["customers"]]


async def test_the_newest_runs_are_listed_by_market(loaded_serving: Serving, churn_family: ChurnFamily) -> None:
    before = (await loaded_serving.churn.ListChurnRuns(pb.ListChurnRunsRequest())).runs
    load_file(loaded_serving.application.database, churn_family.second_run, utc_now())
    load_file(loaded_serving.application.database, churn_family.first_run, utc_now())

    after = (await loaded_serving.churn.ListChurnRuns(pb.ListChurnRunsRequest())).runs

    assert [(run.market, run.customer_count, run.currency_code, run.horizon_days) for run in before] == [
        ("DE", 8, "EUR", 30)
    ]
    assert [(run.market, run.customer_count) for run in after] == [("DE", 20), ("FR", 30)]
    assert after[0].valid_until_time.seconds - after[0].as_of_time.seconds == 35 * 24 * 3600
