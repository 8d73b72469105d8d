"""After a change of model and policy, earlier decisions are read back byte for byte, and are replayed as before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from grounds.credit.v1 import credit_pb2 as pb
from server.config import Settings
from tests.conftest import Serving
from tests.server.audits import MODES, read_evidence, replay, score_customer
from tests.server.requests import numbers
from tests.server.servers import activate_new_policy, serve, swap_model, wait_until
from tests.small import POLICY, SmallFamily

CONCURRENCY = 32
CUSTOMERS = 1500
NEW_POLICY = POLICY.replace("test-1", "test-2").replace("approve_max_pd = 0.20", "approve_max_pd = 0.02")


async def run_for_each(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Run `work` for every number below `count`, at most CONCURRENCY at the same time."""
    waiting = iter(range(count))

    async def worker() -> None:
        for number in waiting:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def decisions(serving: Serving, count: int) -> list[pb.CreditDecision]:
    """Request `count` decisions, in two languages; return the decisions in the order of the requests."""
    scored: list[pb.CreditDecision] = [pb.CreditDecision()] * count

    async def score_one(number: int) -> None:
        features = numbers(turnover=5_000.0 + 97 * (number % 200))
        scored[number] = await score_customer(
            serving, number % CUSTOMERS, features=features, locale=("de", "en")[number % 2]
        )

    await run_for_each(score_one, count)
    return scored


async def change_model_and_policy(serving: Serving, other: SmallFamily) -> None:
    """Activate a different bundle and a different policy, and wait until both are in use."""
    await swap_model(serving, other.bundle_folder)
    activate_new_policy(serving, NEW_POLICY)

    async def in_use() -> bool:
        return (await score_customer(serving)).assessment.policy_result.policy_version == "test-2"

    await wait_until(in_use)


async def check_unchanged(serving: Serving, before: Sequence[pb.CreditDecision]) -> None:
    """Check that every decision, its evidence and its replay are the same as when it was recorded."""

    async def check_one(number: int) -> None:
        decision = before[number]
        decision_id = decision.record_ref.decision_id
        content = decision.SerializeToString(deterministic=True)
        answer = await serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decision_id))
        assert answer.credit_decision.SerializeToString(deterministic=True) == content
        evidence = await read_evidence(serving, decision_id)
        assert evidence.record.answer == content
        assert evidence.decision.assessment.reasons == decision.assessment.reasons
        assert evidence.policy.version == "test-1"
        verdicts = await replay(serving, decision_id)
        assert {mode: verdict for mode, (verdict, _) in verdicts.items()} == dict.fromkeys(MODES, "match"), verdicts

    await run_for_each(check_one, len(before))


@pytest.mark.parametrize(
    "count",
    [200, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])],
)
async def test_after_a_change_of_model_and_policy_every_earlier_decision_reads_back_and_replays_unchanged(
    small_settings: Settings, small: SmallFamily, other: SmallFamily, count: int
) -> None:
    async with serve(small_settings) as serving:
        before = await decisions(serving, count)
        await change_model_and_policy(serving, other)
        after = await decisions(serving, 20)

        await check_unchanged(serving, before)

    assert {one.assessment.model_output.bundle_id for one in before} == {small.bundle_folder.name}
    assert {one.assessment.model_output.bundle_id for one in after} == {other.bundle_folder.name}
    outcomes = [one.decision for one in before[:20]], [one.decision for one in after]
    assert outcomes[0] != outcomes[1], "the new model and policy must lead to different decisions"
    assert sum(bool(one.assessment.reasons.reasons) for one in before) > count / 2
