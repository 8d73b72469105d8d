"""Invalid credit requests over a real channel: each is rejected with code, reason, field and rule."""

import math
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from models.catalog import activate
from server.config import Settings, read_settings
from tests.conftest import Serving, key_settings
from tests.server.requests import (
    UNKNOWN_CUSTOMER,
    call_error,
    customer,
    euros,
    field,
    numbers,
    raw_method,
    score_request,
    simulate_request,
)
from tests.server.servers import record_count, serve
from tests.small import SmallFamily

INVALID = grpc.StatusCode.INVALID_ARGUMENT
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(
    small: SmallFamily, small_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    """Serve all tests of this file with one server, because rejected calls leave no data behind."""
    folder = tmp_path_factory.mktemp("refusals")
    bundles = shutil.copytree(small.bundles, folder / "bundles")
    activate(bundles, small.bundle_folder.name)
    database = f"sqlite:///{shutil.copy(small_database, folder)}"
    settings = read_settings(
        port=0,
        bundles=bundles,
        policy=small.policy,
        database=database,
        drain_seconds_max=0,
        **key_settings(folder),
    )
    async with serve(settings) as server:
        yield server
        assert record_count(server) == 0


async def test_an_unknown_customer_is_not_found_and_the_error_omits_the_id(serving: Serving) -> None:
    for customer_id in (
        UNKNOWN_CUSTOMER,
        "C00001",
    ):  # the second id exists only in FR; ids are unique only within a market
        error = await call_error(serving.credit.ScoreCredit(score_request(customer=customer("DE", customer_id))))

        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN")
        assert error.metadata == {"market": "DE"}
        assert customer_id not in error.everything


async def test_a_simulation_for_an_unknown_customer_is_not_found(serving: Serving) -> None:
    request = simulate_request(customer=customer("DE", UNKNOWN_CUSTOMER), features=numbers(days_late=3))

    error = await call_error(serving.credit.SimulateCredit(request))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN")
    assert UNKNOWN_CUSTOMER not in error.everything


async def test_the_error_for_a_market_without_a_model_lists_the_served_markets(serving: Serving) -> None:
    error = await call_error(serving.credit.ScoreCredit(score_request(customer=customer("IT", UNKNOWN_CUSTOMER))))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTIVE_MODEL")
    assert error.metadata["market"] == "IT"
    assert "DE, FR" in error.message
    assert UNKNOWN_CUSTOMER not in error.everything


async def test_a_decision_in_a_market_without_a_policy_is_rejected(small_settings: Settings) -> None:
    policy = small_settings.policy.read_text()
    start, end = policy.index('[[sections]]\nmarket = "FR"'), policy.index("[texts.LARGEST_AMOUNT]")
    without_fr = small_settings.bundles.parent / "policy.toml"
    without_fr.write_text(policy[:start] + policy[end:])

    async with serve(small_settings.model_copy(update={"policy": without_fr})) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request(customer=customer("FR", "C00001"))))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY")
    assert error.metadata == {"market": "FR"}


async def test_the_error_for_an_unknown_feature_lists_the_known_features(serving: Serving) -> None:
    request = score_request(features=numbers(turnovr=77123.5))

    error = await call_error(serving.credit.ScoreCredit(request))

    assert (error.code, error.reason) == (INVALID, "FEATURES_INVALID")
    assert error.kinds == {'features["turnovr"]': "UNKNOWN_FEATURE"}
    assert "days_late, orders, turnover, years" in error.problems['features["turnovr"]']
    assert "77123" not in error.everything


async def test_a_feature_of_the_store_is_rejected_in_a_decision(serving: Serving) -> None:
    error = await call_error(serving.credit.ScoreCredit(score_request(features=numbers(days_late=77.5))))

    assert (error.code, error.reason) == (INVALID, "FEATURES_INVALID")
    assert error.kinds == {'features["days_late"]': "SOURCE_NOT_ALLOWED"}
    assert "feature store" in error.problems['features["days_late"]']
    assert "77.5" not in error.everything


async def test_a_feature_of_the_store_may_be_simulated(serving: Serving) -> None:
    request = simulate_request(features=numbers(days_late=77.5))

    answer = await serving.credit.SimulateCredit(request)

    line = answer.simulated.explanation.contributions[0]
    assert (line.feature, line.value.number) == ("days_late", 77.5)
    assert answer.known.explanation.contributions[0].value.number != 77.5


async def test_a_value_out_of_range_is_rejected_with_the_range(serving: Serving) -> None:
    for name, value, allowed in (
        ("years", 300.25, "from 0 to 300 years"),
        ("years", -0.125, "from 0 to 300 years"),
        ("turnover", -7712.5, "at least 0 EUR"),
    ):
        error = await call_error(serving.credit.ScoreCredit(score_request(features=numbers(**{name: value}))))

        assert (error.code, error.reason) == (INVALID, "FEATURES_INVALID")
        assert error.kinds == {f'features["{name}"]': "OUT_OF_RANGE"}
        assert allowed in error.problems[f'features["{name}"]']
        assert str(abs(value)) not in error.everything


async def test_nan_and_infinity_are_rejected(serving: Serving) -> None:
    for value in (math.nan, math.inf, -math.inf):
        error = await call_error(serving.credit.ScoreCredit(score_request(features=numbers(turnover=value))))

        assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
        assert error.kinds == {'features["turnover"].number': "DOUBLE_FINITE"}
        assert "finite" in error.problems['features["turnover"].number']


async def test_a_level_for_a_number_is_rejected(serving: Serving) -> None:
    request = score_request(features={"turnover": FeatureValue(level="SECRET")})

    error = await call_error(serving.credit.ScoreCredit(request))

    assert (error.code, error.reason) == (INVALID, "FEATURES_INVALID")
    assert error.kinds == {'features["turnover"]': "WRONG_KIND"}
    assert "must be a number" in error.problems['features["turnover"]']
    assert "SECRET" not in error.everything


async def test_a_value_without_a_kind_is_rejected_and_does_not_count_as_zero(serving: Serving) -> None:
    error = await call_error(serving.credit.ScoreCredit(score_request(features={"turnover": FeatureValue()})))

    assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
    assert list(error.problems) == ['features["turnover"].kind']
    assert "required" in error.problems['features["turnover"].kind']


async def test_all_invalid_features_are_reported_in_one_error(serving: Serving) -> None:
    wrong = {**numbers(days_late=400, orders=-1, years=301, unheard=1), "turnover": FeatureValue(level="SECRET")}

    error = await call_error(serving.credit.ScoreCredit(score_request(features=wrong)))

    assert error.reason == "FEATURES_INVALID"
    assert set(error.problems) == {f'features["{name}"]' for name in wrong}


async def test_the_error_of_an_empty_request_lists_every_missing_field(serving: Serving) -> None:
    error = await call_error(serving.credit.ScoreCredit(pb.ScoreCreditRequest()))

    assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
    assert set(error.problems) == {"request_id", "customer", "requested_amount"}
    for name in error.problems:
        assert name in error.message


async def test_a_request_without_a_uuid_is_rejected(serving: Serving) -> None:
    for request_id in ("", "7", "0b0e3c1e5f0a4b7e9c0e0f4f5d1b2a3c", "{0b0e3c1e-5f0a-4b7e-9c0e-0f4f5d1b2a3c}"):
        error = await call_error(serving.credit.ScoreCredit(score_request(request_id=request_id)))

        assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
        assert list(error.problems) == ["request_id"]
        assert "UUID" in error.problems["request_id"]


async def test_an_amount_that_is_not_positive_is_rejected(serving: Serving) -> None:
    for amount in (
        euros(0),
        euros(-7712),
        euros(0, -1),
        euros(7712, -1),
        euros(7712, 10**9),
        Money(currency_code="eur", units=7712),
        Money(units=7712),
    ):
        error = await call_error(serving.credit.ScoreCredit(score_request(requested_amount=amount)))

        assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
        assert list(error.problems) == ["requested_amount"]
        assert "positive amount" in error.problems["requested_amount"]
        assert "7712" not in error.everything


async def test_the_error_for_a_foreign_currency_states_the_currency_of_the_market(serving: Serving) -> None:
    request = score_request(requested_amount=Money(currency_code="USD", units=7712))

    error = await call_error(serving.credit.ScoreCredit(request))

    assert (error.code, error.reason) == (INVALID, "CURRENCY_NOT_SERVED")
    assert error.problems == {"requested_amount.currency_code": "must be EUR in DE"}
    assert "7712" not in error.everything


async def test_the_error_for_an_invalid_id_does_not_repeat_the_id(serving: Serving) -> None:
    request = score_request(customer=customer("de", "SECRET 1"), locale="SECRET")

    error = await call_error(serving.credit.ScoreCredit(request))

    assert error.reason == "REQUEST_INVALID"
    assert set(error.problems) == {"customer.market", "customer.customer_id", "locale"}
    assert "two uppercase letters" in error.problems["customer.market"]
    assert "SECRET" not in error.everything


async def test_an_unknown_field_is_rejected_at_any_depth(serving: Serving) -> None:
    stranger = field(99, b"SECRET")
    value = numbers(turnover=5.0)["turnover"].SerializeToString()
    in_customer = field(2, stranger)  # merged into the existing customer field
    in_value = field(4, field(1, b"turnover") + field(2, value + stranger))
    for part in (stranger, in_customer, in_value):
        error = await call_error(raw_method(serving.channel, "ScoreCredit")(score_request().SerializeToString() + part))

        assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
        assert list(error.kinds.values()) == ["UNKNOWN_FIELD"]
        assert "SECRET" not in error.everything


LONG_NAMES = {
    "many": (512, "x" * 125),
    "long": (20, "x" * 4000),
    "one": (1, "x" * 100_000),
    "wide": (20, "\N{GRINNING FACE}" * 125),
    "percent": (20, "%" * 125),
}


@pytest.mark.parametrize(("count", "name"), LONG_NAMES.values(), ids=LONG_NAMES)
async def test_an_error_about_many_features_with_long_names_fits_into_the_trailers(
    serving: Serving, count: int, name: str
) -> None:
    """Trailers are limited to 8 KB; a larger error would arrive as RESOURCE_EXHAUSTED, without a reason."""
    request = score_request(features=numbers(**{f"{index:03d}{name}": 1.0 for index in range(count)}))

    error = await call_error(serving.credit.ScoreCredit(request))

    assert (error.code, error.reason) in {(INVALID, "FEATURES_INVALID"), (INVALID, "REQUEST_INVALID")}
    assert 1 <= len(error.problems) <= count


async def test_more_than_512_values_are_rejected(serving: Serving) -> None:
    request = score_request(features=numbers(**{f"f{index}": 1.0 for index in range(513)}))

    error = await call_error(serving.credit.ScoreCredit(request))

    assert error.reason == "REQUEST_INVALID"
    assert list(error.problems) == ["features"]
    assert "512" in error.problems["features"]


async def test_an_unknown_decision_is_not_found(serving: Serving) -> None:
    decision_id = str(uuid.uuid4())

    error = await call_error(serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decision_id)))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "DECISION_UNKNOWN")
    assert error.metadata == {"decision_id": decision_id}
