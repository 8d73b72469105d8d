"""The typed client against a real server, in a thread of its own as a caller runs it."""

import asyncio
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounds.credit.v1 import credit_pb2 as pb
from grounds.model.v1 import model_pb2
from grounds_client.calls import About, Client, money_of
from grounds_client.errors import CallFailed
from server.config import Settings
from tests.conftest import ROOT, Serving
from tests.server.servers import block_store_threads, serve

Answer = TypeVar("Answer")
CUSTOMER, AMOUNT = ("DE", "C00000"), (Decimal("500.25"), "EUR")


def address(serving: Serving) -> str:
    """Give where the server listens."""
    return f"127.0.0.1:{serving.application.port}"


async def ask(serving: Serving, question: Callable[[Client], Answer], seconds: float = 5.0) -> Answer:
    """Ask as a caller does, beside the server's event loop."""

    def asked() -> Answer:
        with Client(address(serving), deadline_seconds=seconds) as client:
            return question(client)

    return await asyncio.to_thread(asked)


async def failure(serving: Serving, question: Callable[[Client], object], seconds: float = 5.0) -> CallFailed:
    """Ask what is refused."""
    with pytest.raises(CallFailed) as caught:
        await ask(serving, question, seconds)
    return caught.value


async def test_a_decision_is_asked_for_with_plain_values_and_read_again(serving: Serving) -> None:
    features = {"turnover": 50_000, "years": 3.5}

    decision = await ask(
        serving, lambda client: client.score_credit(CUSTOMER, AMOUNT, features=features, about=About(locale="de"))
    )
    again = await ask(
        serving, lambda client: client.get_credit_decision(decision.record_ref.decision_id).credit_decision
    )

    values = {line.feature: line.value.number for line in decision.assessment.explanation.contributions}
    assert (values["turnover"], values["years"]) == (50_000, 3.5)
    assert (decision.requested_amount.units, decision.requested_amount.nanos) == (500, 250_000_000)
    assert decision.assessment.reasons.locale == "de"
    assert again == decision


async def test_the_same_request_id_gets_the_same_decision_and_none_gets_a_new_one(serving: Serving) -> None:
    request_id = str(uuid.uuid4())

    def thrice(client: Client) -> list[pb.CreditDecision]:
        return [client.score_credit(CUSTOMER, AMOUNT, request_id=given) for given in (request_id, request_id, None)]

    first, second, third = await ask(serving, thrice)

    assert first == second
    assert third.record_ref.decision_id != first.record_ref.decision_id


async def test_a_what_if_takes_any_feature(serving: Serving) -> None:
    answer = await ask(serving, lambda client: client.simulate_credit(CUSTOMER, AMOUNT, features={"days_late": 300}))

    assert answer.simulated.model_output.pd > answer.known.model_output.pd


async def test_models_are_listed_and_read(serving: Serving) -> None:
    listed = await ask(serving, lambda client: client.list_models())
    model = await ask(serving, lambda client: client.get_model(listed[0].bundle_id))

    assert [summary.state for summary in listed] == [model_pb2.MODEL_STATE_SERVING]
    assert model.summary == listed[0]


async def test_a_refused_call_says_the_reason_and_every_problem(serving: Serving) -> None:
    features = {"days_late": 400.0, "turnover": "much"}

    error = await failure(serving, lambda client: client.score_credit(CUSTOMER, AMOUNT, features=features))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID")
    assert {(problem.field, problem.kind) for problem in error.problems} == {
        ('features["days_late"]', "SOURCE_NOT_ALLOWED"),
        ('features["days_late"]', "OUT_OF_RANGE"),
        ('features["turnover"]', "WRONG_KIND"),
    }
    assert all(problem.problem for problem in error.problems)
    assert str(error).startswith("FEATURES_INVALID: ")


async def test_a_refused_call_says_what_its_message_is_made_of(serving: Serving) -> None:
    error = await failure(serving, lambda client: client.get_churn_risk(("IT", "7")))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN")
    assert error.metadata == {"market": "IT"}
    assert not error.problems


async def test_a_list_is_refused_when_it_is_read(serving: Serving) -> None:
    error = await failure(serving, lambda client: list(client.list_churn_risks("DE")))

    assert error.reason == "NO_RUN"


async def test_a_call_that_is_not_answered_in_time_is_said_to_be_late(serving: Serving) -> None:
    with block_store_threads(serving):
        error = await failure(serving, lambda client: client.score_credit(CUSTOMER, AMOUNT), seconds=0.2)

    assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "")


def test_a_server_that_is_not_there_is_said_within_the_deadline() -> None:
    start = time.monotonic()
    with Client(f"127.0.0.1:{free_port()}", deadline_seconds=0.5) as client, pytest.raises(CallFailed) as caught:
        client.list_models()

    assert caught.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert caught.value.reason == ""
    assert time.monotonic() - start < 2.5


def free_port() -> int:
    """Give a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_calls_that_are_made_while_the_server_starts_are_answered(small_settings: Settings) -> None:
    """Nobody has to call again by hand when a server is renewed: twenty callers, whose retries gRPC jitters."""
    settings = small_settings.model_copy(update={"port": free_port()})

    def early() -> pb.CreditDecision:
        with Client(f"127.0.0.1:{settings.port}") as client:
            return client.score_credit(CUSTOMER, AMOUNT)

    calls = [asyncio.create_task(asyncio.to_thread(early)) for _ in range(20)]
    await asyncio.wait(calls, timeout=0.6)  # long enough for the first try of each to have failed
    async with serve(settings):
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


async def test_one_client_may_be_shared_by_threads(serving: Serving) -> None:
    with Client(address(serving)) as client:
        questions = [asyncio.to_thread(client.score_credit, CUSTOMER, AMOUNT) for _ in range(20)]
        decisions = await asyncio.gather(*questions)

    assert len({decision.record_ref.decision_id for decision in decisions}) == 20


@given(st.decimals(min_value=0, max_value=10**12, places=9))
def test_an_amount_is_sent_exactly(amount: Decimal) -> None:
    money = money_of(amount, "EUR")

    assert Decimal(money.units) + Decimal(money.nanos) / 10**9 == amount
    assert 0 <= money.nanos < 10**9


def test_an_amount_that_cannot_be_sent_exactly_is_refused() -> None:
    with pytest.raises(ValueError, match="nine decimals"):
        money_of(Decimal("0.0000000001"), "EUR")


@pytest.mark.parametrize("amount", ["1e19", "-1e19", "NaN", "Infinity"])
def test_an_amount_larger_than_any_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="at most 1,000,000,000,000,000,000"):
        money_of(Decimal(amount), "EUR")


def test_the_largest_amount_is_sent_exactly() -> None:
    assert money_of(Decimal(10**18) - Decimal("0.000000001"), "EUR").nanos == 999_999_999


@pytest.mark.parametrize("amount", [120000.5, "120000", 120000], ids=["float", "text", "int"])
def test_an_amount_that_is_no_decimal_is_refused_with_what_to_write(amount: Any) -> None:
    with pytest.raises(TypeError, match=r'Decimal\("120000.50"\)'):
        money_of(amount, "EUR")


async def test_a_negative_amount_is_refused_by_the_server(serving: Serving) -> None:
    for amount in ("-500", "-0.25", "-500.25"):
        error = await failure(serving, lambda client, a=amount: client.score_credit(CUSTOMER, (Decimal(a), "EUR")))

        assert [problem.field for problem in error.problems] == ["requested_amount"]


def test_the_clients_core_brings_neither_models_nor_numpy() -> None:
    code = "import sys, client.calls; print(*sorted({name.split('.')[0] for name in sys.modules}))"

    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)

    loaded = set(done.stdout.split())
    assert {"client", "grpc", "grounds"} <= loaded
    assert not loaded & {"models", "server", "training", "numpy", "pandas", "pyarrow", "onnxruntime", "rich", "typer"}
