"""Counterfactuals through a running server."""

from grounds.credit.v1 import credit_pb2 as pb
from server.config import Settings
from tests.conftest import Serving
from tests.server.edges.credit.test_decisions import settings_with_policy
from tests.server.requests import customer, numbers, simulate_request
from tests.server.servers import serve
from tests.small import POLICY


async def simulate(serving: Serving, customer_id: str, **values: float) -> pb.SimulateCreditResponse:
    """Simulate a credit application, with counterfactuals."""
    return await serving.credit.SimulateCredit(
        simulate_request(customer=customer("DE", customer_id), features=numbers(**values), counterfactuals=True)
    )


async def test_without_actionable_groups_there_is_no_recourse(serving: Serving) -> None:
    answer = await simulate(serving, "C00000", turnover=100.0, days_late=300.0)

    assert answer.simulated.model_output.pd > answer.simulated.recommendation.approve_max_pd
    assert answer.recourse.status == pb.RECOURSE_STATUS_NO_RECOURSE_FOUND
    assert not answer.recourse.counterfactuals


async def test_a_customer_below_the_cut_off_needs_no_recourse(small_settings: Settings) -> None:
    generous = POLICY.replace("approve_max_pd = 0.20", "approve_max_pd = 0.6")

    async with serve(settings_with_policy(small_settings, generous)) as serving:
        answer = await simulate(serving, "C00000", turnover=500_000.0, days_late=0.0)

    assert answer.recourse.status == pb.RECOURSE_STATUS_NOT_NEEDED


async def test_counterfactuals_are_returned_only_on_request(serving: Serving) -> None:
    answer = await serving.credit.SimulateCredit(simulate_request())

    assert not answer.HasField("recourse")
