"""`Client` against a real server. The client runs in a separate thread, as in a caller's process."""

import asyncio
import socket
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import grpc
import pytest

from grounds.credit.v1 import credit_pb2 as pb
from grounds.model.v1 import model_pb2
from grounds_client import Amount, CallFailed, Client
from server.config import Settings
from tests.conftest import Serving
from tests.server.events import score_with_outcome
from tests.server.servers import block_store_threads, serve

Answer = TypeVar("Answer")
CUSTOMER, AMOUNT = ("DE", "C00000"), Amount(Decimal("500.25"), "EUR")


def address(serving: Serving) -> str:
    """Return the address of the server."""
    return f"127.0.0.1:{serving.application.port}"


async def ask(serving: Serving, question: Callable[[Client], Answer], seconds: float = 5.0) -> Answer:
    """Call the server in a thread; return the answer."""

    def call() -> Answer:
        with Client(address(serving), deadline_seconds=seconds) as client:
            return question(client)

    return await asyncio.to_thread(call)


async def failure(serving: Serving, question: Callable[[Client], object], seconds: float = 5.0) -> CallFailed:
    """Call the server; the call must fail. Return the error."""
    with pytest.raises(CallFailed) as caught:
        await ask(serving, question, seconds)
    return caught.value


async def test_a_decision_is_requested_with_plain_values_and_read_back(serving: Serving) -> None:
    features = {"turnover": 50_000, "years": 3.5}

    decision = await ask(serving, lambda client: client.score_credit(*CUSTOMER, AMOUNT, features=features, locale="de"))
    again = await ask(
        serving, lambda client: client.get_credit_decision(decision.record_ref.decision_id).credit_decision
    )

    values = {line.feature: line.value.number for line in decision.assessment.explanation.contributions}
    assert (values["turnover"], values["years"]) == (50_000, 3.5)
    assert (decision.requested_amount.units, decision.requested_amount.nanos) == (500, 250_000_000)
    assert decision.assessment.reasons.locale == "de"
    assert again == decision


async def test_a_repeated_request_id_returns_the_same_decision_and_without_one_a_new_decision_is_made(
    serving: Serving,
) -> None:
    request_id = str(uuid.uuid4())

    def score_three_times(client: Client) -> list[pb.CreditDecision]:
        return [client.score_credit(*CUSTOMER, AMOUNT, request_id=given) for given in (request_id, request_id, None)]

    first, second, third = await ask(serving, score_three_times)

    assert first == second
    assert third.record_ref.decision_id != first.record_ref.decision_id


async def test_a_what_if_may_replace_any_feature(serving: Serving) -> None:
    answer = await ask(serving, lambda client: client.simulate_credit(*CUSTOMER, AMOUNT, features={"days_late": 300}))

    assert answer.simulated.model_output.pd > answer.known.model_output.pd


async def test_models_are_listed_and_read(serving: Serving) -> None:
    listed = await ask(serving, lambda client: client.list_models())
    model = await ask(serving, lambda client: client.get_model(listed[0].bundle_id))

    assert [summary.state for summary in listed] == [model_pb2.MODEL_STATE_SERVING]
    assert model.summary == listed[0]


async def test_the_policy_is_read_by_market(serving: Serving) -> None:
    policy = await ask(serving, lambda client: client.get_policy(market="DE", locale="de"))

    assert [section.market for section in policy.sections] == ["DE"]
    assert policy.sections[0].overrides.high_side_reasons[0].text == "Es besteht Betrugsverdacht"


async def test_a_rejected_call_has_the_reason_and_every_problem(serving: Serving) -> None:
    features: dict[str, float | str] = {"days_late": 400.0, "turnover": "much"}

    error = await failure(serving, lambda client: client.score_credit(*CUSTOMER, AMOUNT, features=features))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEATURES_INVALID")
    assert {(problem.field, problem.kind) for problem in error.problems} == {
        ('features["days_late"]', "SOURCE_NOT_ALLOWED"),
        ('features["days_late"]', "OUT_OF_RANGE"),
        ('features["turnover"]', "WRONG_KIND"),
    }
    assert all(problem.problem for problem in error.problems)
    assert str(error).startswith("FEATURES_INVALID: ")


async def test_a_rejected_call_has_the_variable_parts_of_its_message(serving: Serving) -> None:
    error = await failure(serving, lambda client: client.get_churn_risk("IT", "7"))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN")
    assert error.metadata == {"market": "IT"}
    assert not error.problems


async def test_a_list_raises_the_error_when_it_is_iterated(serving: Serving) -> None:
    error = await failure(serving, lambda client: list(client.list_churn_risks("DE")))

    assert error.reason == "NO_RUN"


async def test_a_call_that_is_not_answered_in_time_exceeds_its_deadline(serving: Serving) -> None:
    with block_store_threads(serving):
        error = await failure(serving, lambda client: client.score_credit(*CUSTOMER, AMOUNT), seconds=0.2)

    assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "")


def test_an_unreachable_server_fails_the_call_within_the_deadline() -> None:
    start = time.monotonic()
    with Client(f"127.0.0.1:{free_port()}", deadline_seconds=0.5) as client, pytest.raises(CallFailed) as caught:
        client.list_models()

    assert caught.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert caught.value.reason == ""
    assert time.monotonic() - start < 2.5


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_calls_made_while_the_server_starts_succeed(small_settings: Settings) -> None:
    """While a server restarts, gRPC retries the calls of twenty callers."""
    settings = small_settings.model_copy(update={"port": free_port()})

    def early() -> pb.CreditDecision:
        with Client(f"127.0.0.1:{settings.port}") as client:
            return client.score_credit(*CUSTOMER, AMOUNT)

    calls = [asyncio.create_task(asyncio.to_thread(early)) for _ in range(20)]
    await asyncio.wait(calls, timeout=0.6)  # long enough for the first attempt of every call to fail
    async with serve(settings):
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


async def test_threads_may_share_one_client(serving: Serving) -> None:
    with Client(address(serving)) as client:
        questions = [asyncio.to_thread(client.score_credit, *CUSTOMER, AMOUNT) for _ in range(20)]
        decisions = await asyncio.gather(*questions)

    assert len({decision.record_ref.decision_id for decision in decisions}) == 20


async def test_the_server_rejects_a_negative_amount(serving: Serving) -> None:
    for amount in ("-500", "-0.25", "-500.25"):
        error = await failure(
            serving, lambda client, a=amount: client.score_credit(*CUSTOMER, Amount(Decimal(a), "EUR"))
        )

        assert [problem.field for problem in error.problems] == ["requested_amount"]


async def test_a_decision_is_overridden_and_its_outcome_recorded(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)

    def record(client: Client) -> pb.GetCreditDecisionResponse:
        decision_id, day = decision.record_ref.decision_id, decision.record_ref.decide_time.ToDatetime().date()
        client.record_override(
            decision_id,
            pb.DECISION_APPROVE_REDUCED,
            reason_code="FRAUD_SUSPECTED",
            user_id="u17",
            user_role="CREDIT_MANAGER",
            authority_limit=Amount(Decimal(50_000), "EUR"),
            granted_amount=Amount(Decimal("99.50"), "EUR"),
            comment="see the file",
        )
        booked = client.record_outcome(decision_id, day, pb.Booked(amount=Amount(Decimal("99.50"), "EUR").to_money()))
        client.record_outcome(decision_id, day, pb.Cure(), corrects_outcome_id=booked.outcome_id)
        return client.get_credit_decision(decision_id)

    history = await ask(serving, record)

    [override], outcomes = history.overrides, history.outcomes
    assert (override.user_id, override.comment) == ("u17", "see the file")
    assert Amount.from_money(override.granted_amount) == Amount(Decimal("99.5"), "EUR")
    assert [outcome.WhichOneof("event") for outcome in outcomes] == ["booked", "cure"]
    assert outcomes[1].corrects_outcome_id == outcomes[0].outcome_id
