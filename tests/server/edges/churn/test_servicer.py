"""ChurnService: predictions of the newest run, equal in lists and single reads, with explanations that add up."""

import math
from collections.abc import Sequence

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from grounds.explain.v1 import explain_pb2
from server.config import Settings
from server.edges.money import amount_from_money
from server.stores.float_arrays import pack_doubles
from tests.conftest import LOAD_TIME, Serving
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily
from tests.server.loading import load_file
from tests.server.requests import UNKNOWN_CUSTOMER, call_error, customer

CUSTOMERS = ("C00000", "C00001", "C00007", "B00001", "C00403")


@pytest.fixture
def small_settings(churn_settings: Settings) -> Settings:
    """Return settings with a loaded scoring run."""
    return churn_settings


async def read_risk(serving: Serving, customer_id: str, locale: str = "") -> pb.ChurnRisk:
    """Read the prediction of one customer."""
    request = pb.GetChurnRiskRequest(customer=customer("DE", customer_id), locale=locale)
    return (await serving.churn.GetChurnRisk(request)).churn_risk


async def read_list(serving: Serving) -> dict[str, pb.ChurnRisk]:
    """Read the first page."""
    page = await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1000))
    return {risk.customer.customer_id: risk for risk in page.churn_risks}


def texts(reasons: explain_pb2.Reasons) -> Sequence[str]:
    """Return the texts of the drivers."""
    return [reason.text for reason in reasons.reasons]


async def test_a_single_read_equals_the_list_to_the_bit(serving: Serving) -> None:
    in_list = await read_list(serving)
    for customer_id in list(in_list)[:20] + list(in_list)[-20:]:
        alone = await read_risk(serving, customer_id)
        figures = [(risk.churn_probability, risk.log_odds) for risk in (alone, in_list[customer_id])]
        assert pack_doubles(figures[0]) == pack_doubles(figures[1])

        alone.ClearField("explanation")
        assert alone == in_list[customer_id]


async def test_an_explanation_adds_up_to_the_log_odds(serving: Serving) -> None:
    for customer_id in CUSTOMERS:
        risk = await read_risk(serving, customer_id)

        explanation = risk.explanation
        parts = [line.log_odds for line in explanation.contributions]
        assert math.fsum([explanation.base_value, *parts]) == pytest.approx(risk.log_odds, abs=1e-9)
        assert abs(explanation.residual) <= 1e-9
        assert risk.churn_probability == pytest.approx(1 / (1 + math.exp(-risk.log_odds)), abs=1e-12)
        assert not explanation.HasField("base_points")
        assert not any(line.HasField("points") for line in explanation.contributions)


async def test_the_server_returns_the_numbers_of_the_model(serving: Serving, churn_family: ChurnFamily) -> None:
    names = churn_family.model.bundle.schema.names
    for customer_id in CUSTOMERS:
        row = churn_family.customers.set_index("customer_id").loc[customer_id]
        answer = churn_family.model.explain({name: row[name] for name in names if not math.isnan(row[name])})

        risk = await read_risk(serving, customer_id)

        assert (risk.log_odds, risk.churn_probability) == (answer.log_odds, answer.pd)
        assert tuple(line.log_odds for line in risk.explanation.contributions) == answer.contributions
        assert risk.bundle_id == churn_family.model.bundle.bundle_id
        assert risk.risk_band == pb.RiskBand.Value(f"RISK_BAND_{answer.grade}")


async def test_a_missing_value_is_unset_and_every_other_value_has_source_and_time(serving: Serving) -> None:
    lines = [line for risk in CUSTOMERS for line in (await read_risk(serving, risk)).explanation.contributions]

    assert {line.HasField("value") for line in lines} == {True, False}
    for line in lines:
        known = line.HasField("value")
        assert line.source == (explain_pb2.VALUE_SOURCE_STORE if known else explain_pb2.VALUE_SOURCE_UNSPECIFIED)
        assert line.HasField("as_of_time") == known
        assert not known or line.as_of_time.ToDatetime(FIRST.tzinfo) == FIRST


async def test_value_at_risk_is_pd_times_expected_spend_in_whole_cents(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    turnover = churn_family.customers.set_index("customer_id")["turnover"]
    for customer_id in CUSTOMERS:
        risk = await read_risk(serving, customer_id)

        amount = amount_from_money(risk.value_at_risk)
        assert risk.value_at_risk.currency_code == "EUR"
        assert amount == round(amount, 2)
        assert float(amount) == pytest.approx(risk.churn_probability * turnover[customer_id] * 0.00001, abs=0.005001)


async def test_drivers_are_in_the_requested_language_or_in_that_of_the_market(serving: Serving) -> None:
    drivers = {
        locale: (await read_risk(serving, "C00007", locale)).drivers for locale in ("", "de", "de-AT", "fr", "en")
    }

    assert {locale: reasons.locale for locale, reasons in drivers.items()} == {
        "": "en",
        "de": "de",
        "de-AT": "de",
        "fr": "de",
        "en": "en",
    }
    assert 1 <= len(drivers["en"].reasons) <= 3
    assert texts(drivers[""]) == texts(drivers["en"])
    assert texts(drivers["de"]) == texts(drivers["de-AT"]) == texts(drivers["fr"])
    assert set(texts(drivers["de"])).isdisjoint(texts(drivers["en"]))


async def test_drivers_raise_the_probability_and_the_strongest_is_first(serving: Serving) -> None:
    for risk in (await read_list(serving)).values():
        pushes = [reason.log_odds for reason in risk.drivers.reasons]

        assert pushes == sorted(pushes, reverse=True)
        assert all(push > 0 for push in pushes)
        assert not any(reason.HasField("points") for reason in risk.drivers.reasons)


async def test_the_newest_run_serves_as_soon_as_it_is_loaded(serving: Serving, churn_family: ChurnFamily) -> None:
    before = await read_risk(serving, "C00000")
    load_file(serving.application.database, churn_family.second_run, LOAD_TIME)

    after = await read_risk(serving, "C00000")

    assert before.run_id != after.run_id
    assert after.as_of_time.ToDatetime(SECOND.tzinfo) == SECOND


async def test_an_older_run_that_is_loaded_later_does_not_serve(serving: Serving, churn_family: ChurnFamily) -> None:
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM risk_leaves")
        connection.exec_driver_sql("DELETE FROM risk_chunks")
        connection.exec_driver_sql("DELETE FROM risks")
        connection.exec_driver_sql("DELETE FROM runs")
    for run in (churn_family.second_run, churn_family.first_run):
        load_file(serving.application.database, run, LOAD_TIME)

    risk = await read_risk(serving, "C00000")

    assert risk.as_of_time.ToDatetime(SECOND.tzinfo) == SECOND


async def test_a_market_without_a_run_is_rejected_with_no_run(serving: Serving) -> None:
    for call in (
        serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("IT", UNKNOWN_CUSTOMER))),
        serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="IT")),
    ):
        error = await call_error(call)

        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN")
        assert error.metadata == {"market": "IT"}
        assert UNKNOWN_CUSTOMER not in error.everything


async def test_an_unknown_customer_is_not_found_and_the_error_omits_the_id(serving: Serving) -> None:
    for customer_id in (UNKNOWN_CUSTOMER, "C00729"):  # the second customer exists only in FR
        error = await call_error(
            serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=customer("DE", customer_id)))
        )

        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN")
        assert error.metadata == {"market": "DE"}
        assert customer_id not in error.everything


async def test_the_error_of_an_empty_request_lists_every_missing_field(serving: Serving) -> None:
    error = await call_error(serving.churn.GetChurnRisk(pb.GetChurnRiskRequest()))

    assert error.reason == "REQUEST_INVALID"
    assert list(error.problems) == ["customer"]
