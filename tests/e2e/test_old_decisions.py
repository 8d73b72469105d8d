"""Decisions of an old model under an old policy, after another model serves under another policy: as they were, to the bit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from grounds.credit.v1 import credit_pb2 as pb
from server.config import Settings
from tests.conftest import Serving
from tests.server.audits import MODES, read_evidence, replay, score_customer
from tests.server.requests import numbers
from tests.server.servers import serve, swap_model, wait_until
from tests.small import POLICY, SmallFamily

AT_ONCE = 32
CUSTOMERS = 1500
OF_TODAY = POLICY.replace("test-1", "test-2").replace("approve_max_pd = 0.20", "approve_max_pd = 0.02")


async def each(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Run `work` for every number, 32 at a time."""
    waiting = iter(range(count))

    async def worker() -> None:
        for number in waiting:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def decisions(serving: Serving, count: int) -> list[pb.CreditDecision]:
    """Score many customers, in two languages."""
    found: list[pb.CreditDecision] = [pb.CreditDecision()] * count

    async def one(number: int) -> None:
        given = numbers(turnover=5_000.0 + 97 * (number % 200))
        found[number] = await score_customer(
            serving, number % CUSTOMERS, features=given, locale=("de", "en")[number % 2]
        )

    await each(one, count)
    return found


async def renew(serving: Serving, other: SmallFamily, write: Callable[[str], int]) -> None:
    """Activate another bundle and another policy."""
    await swap_model(serving, other.bundle_folder)
    write(OF_TODAY)

    async def holds() -> bool:
        return (await score_customer(serving)).assessment.policy_result.policy_version == "test-2"

    await wait_until(holds)


async def check_unchanged(serving: Serving, before: Sequence[pb.CreditDecision]) -> None:
    """Read each decision back, its evidence, and its replay."""

    async def one(number: int) -> None:
        decision = before[number]
        decision_id = decision.record_ref.decision_id
        content = decision.SerializeToString(deterministic=True)
        answer = await serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decision_id))
        assert answer.credit_decision.SerializeToString(deterministic=True) == content
        found = await read_evidence(serving, decision_id)
        assert found.record.answer == content
        assert found.decision.assessment.reasons == decision.assessment.reasons
        assert found.policy.version == "test-1"
        verdicts = await replay(serving, decision_id)
        assert {mode: verdict for mode, (verdict, _) in verdicts.items()} == dict.fromkeys(MODES, "match"), verdicts

    await each(one, len(before))


@pytest.mark.parametrize(
    "count",
    [200, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])],
)
async def test_every_decision_reads_back_replays_to_match_and_shows_its_reasons_after_model_and_policy_changed(
    small_settings: Settings, small: SmallFamily, other: SmallFamily, count: int
) -> None:
    path = small_settings.bundles.parent / "policy_of_today.toml"
    path.write_text(POLICY)
    async with serve(small_settings.model_copy(update={"policy": path})) as serving:
        before = await decisions(serving, count)
        await renew(serving, other, path.write_text)
        after = await decisions(serving, 20)

        await check_unchanged(serving, before)

    assert {one.assessment.model_output.bundle_id for one in before} == {small.bundle_folder.name}
    assert {one.assessment.model_output.bundle_id for one in after} == {other.bundle_folder.name}
    outcomes = [one.decision for one in before[:20]], [one.decision for one in after]
    assert outcomes[0] != outcomes[1], "the new model and policy decide otherwise"
    assert sum(bool(one.assessment.reasons.reasons) for one in before) > count / 2
