"""The decisions about one customer are listed with what became of them, and no other customer's."""

import datetime as dt

import grpc

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from server.maintenance.erasure import erase_customer
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.events import approval_request, outcome_request, override_request
from tests.server.requests import call_error, euros, score_request


async def decide(serving: Serving, customer: Customer, amount: int) -> pb.CreditDecision:
    """Request a decision about a customer."""
    answer = await serving.credit.ScoreCredit(score_request(customer=customer, requested_amount=euros(amount)))
    return answer.credit_decision


def german(number: int) -> Customer:
    """Return a customer of the small family."""
    return Customer(market="DE", customer_id=f"C{number:05d}")


async def list_all(serving: Serving, customer: Customer, size: int = 0) -> list[pb.CustomerDecision]:
    """Return the decisions of every page."""
    request, found = pb.ListCustomerDecisionsRequest(customer=customer, page_size=size), []
    while True:
        page = await serving.credit.ListCustomerDecisions(request)
        assert len(page.decisions) <= (size or 20)
        found += page.decisions
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_a_customers_decisions_are_listed_newest_first_with_override_in_force_and_newest_outcome(
    serving: Serving,
) -> None:
    made = [await decide(serving, german(0), amount) for amount in (500, 600, 700)]
    await decide(serving, german(2), 800)
    await decide(serving, Customer(market="FR", customer_id="C00001"), 900)
    await serving.credit.RecordOverride(override_request(made[1]))
    override = await serving.credit.RecordOverride(approval_request(made[1]))
    await serving.credit.RecordOutcome(outcome_request(made[0]))
    cured = await serving.credit.RecordOutcome(outcome_request(made[0], cure=pb.Cure()))

    found = await list_all(serving, german(0))

    assert [each.decision_id for each in found] == [each.record_ref.decision_id for each in reversed(made)]
    for each, decision in zip(found, reversed(made), strict=True):
        assert each.decide_time == decision.record_ref.decide_time
        assert each.decision == decision.decision
        assert each.grade == decision.assessment.model_output.grade
        assert (each.requested_amount, each.expire_time) == (decision.requested_amount, decision.expire_time)
        assert not each.content_removed
    assert found[1].override == override.override
    assert [each.HasField("override") for each in found] == [False, True, False]
    assert found[2].outcome == cured.outcome
    assert [each.HasField("outcome") for each in found] == [False, False, True]


async def test_a_correction_takes_the_place_of_what_it_corrects(serving: Serving) -> None:
    decision = await decide(serving, german(8), 500)
    booked = (await serving.credit.RecordOutcome(outcome_request(decision))).outcome
    default = pb.Default(trigger_code="DAYS_PAST_DUE_90")
    failed = (await serving.credit.RecordOutcome(outcome_request(decision, default=default))).outcome
    again = outcome_request(decision, corrects_outcome_id=booked.outcome_id)
    corrected = (await serving.credit.RecordOutcome(again)).outcome

    (found,) = await list_all(serving, german(8))
    assert found.outcome == failed

    withdrawn = outcome_request(decision, corrects_outcome_id=failed.outcome_id, cure=pb.Cure())
    cured = (await serving.credit.RecordOutcome(withdrawn)).outcome
    await serving.credit.RecordOutcome(outcome_request(decision, corrects_outcome_id=corrected.outcome_id))

    (found,) = await list_all(serving, german(8))
    assert found.outcome == cured


async def test_of_a_decision_whose_content_retention_removed_nothing_recorded_later_is_listed(serving: Serving) -> None:
    decision = await decide(serving, german(0), 500)
    await serving.credit.RecordOverride(override_request(decision))
    await serving.credit.RecordOutcome(outcome_request(decision))
    with serving.application.database.writing() as connection:
        old = RECORDS.c.record_id == decision.record_ref.decision_id
        connection.execute(RECORDS.update().where(old).values(ciphertext=None))

    (found,) = await list_all(serving, german(0))

    assert found.content_removed
    assert not any(found.HasField(name) for name in ("requested_amount", "expire_time", "override", "outcome"))


async def test_pages_have_every_decision_once_also_while_others_are_made(serving: Serving) -> None:
    made = [await decide(serving, german(4), 500 + number) for number in range(7)]
    request = pb.ListCustomerDecisionsRequest(customer=german(4), page_size=3)
    first = await serving.credit.ListCustomerDecisions(request)
    await decide(serving, german(4), 999)
    rest = []
    request.page_token = first.next_page_token
    while request.page_token:
        page = await serving.credit.ListCustomerDecisions(request)
        rest += page.decisions
        request.page_token = page.next_page_token

    ids = [each.decision_id for each in [*first.decisions, *rest]]
    assert ids == [each.record_ref.decision_id for each in reversed(made)]
    assert len(await list_all(serving, german(4), 3)) == len(made) + 1


async def test_a_token_is_valid_only_for_its_customer(serving: Serving) -> None:
    for amount in (500, 600):
        await decide(serving, german(0), amount)
    page = await serving.credit.ListCustomerDecisions(pb.ListCustomerDecisionsRequest(customer=german(0), page_size=1))

    other = pb.ListCustomerDecisionsRequest(customer=german(2), page_token=page.next_page_token)
    error = await call_error(serving.credit.ListCustomerDecisions(other))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert "issued for a different list" in error.message


async def test_of_an_erased_customer_the_list_has_only_what_the_headers_state(serving: Serving) -> None:
    before = await decide(serving, german(6), 500)
    await serving.credit.RecordOverride(override_request(before))
    log = serving.application.log
    assert log is not None
    erase_customer(log, ("DE", german(6).customer_id), "asked", dt.datetime.now(dt.UTC))

    (left,) = await list_all(serving, german(6))

    assert left == pb.CustomerDecision(
        decision_id=before.record_ref.decision_id,
        decide_time=before.record_ref.decide_time,
        decision=before.decision,
        grade=before.assessment.model_output.grade,
        content_removed=True,
    )


async def test_a_customer_without_decisions_has_an_empty_list(serving: Serving) -> None:
    assert await list_all(serving, Customer(market="DE", customer_id="nobody")) == []
