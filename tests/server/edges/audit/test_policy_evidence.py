"""Evidence states the section of the policy that decided, and a replay states what would have led to approval."""

import pytest

from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds_client.formatting import changes_text
from tests.client.letter.test_letter import decline, desk
from tests.conftest import Serving
from tests.server.audits import PURPOSE, read_evidence, replay, set_columns
from tests.server.events import score_with_outcome

__all__ = ["desk"]


async def test_the_evidence_states_the_section_that_was_applied(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    market = decision.customer.market
    answer = await serving.credit.GetPolicy(pb.GetPolicyRequest(market=market, product="STANDARD"))
    (section,) = answer.sections

    evidence = await read_evidence(serving, decision.record_ref.decision_id)

    assert evidence.policy.section == section
    assert section.in_force


async def test_a_replay_states_changes_with_which_the_policy_approves(desk: Serving) -> None:
    decision = await decline(desk)
    request = evidence_pb2.ReplayDecisionRequest(decision_id=decision.record_ref.decision_id, purpose=PURPOSE)

    recourse = (await desk.audit.ReplayDecision(request)).recourse

    assert recourse.status == pb.RECOURSE_STATUS_FOUND
    for each in recourse.counterfactuals:
        proposed = {change.feature: change.proposed for change in each.changes}
        simulated = await desk.credit.SimulateCredit(
            pb.SimulateCreditRequest(
                customer=decision.customer, requested_amount=decision.requested_amount, features=proposed
            )
        )
        assert simulated.simulated.policy_result.decision == pb.DECISION_APPROVE
        assert simulated.simulated.model_output.score == each.score
        assert all(change.text for change in each.changes)
        assert changes_text(each).endswith(f"({each.score} points, probability of default {each.pd:.2%})")


async def test_a_replay_states_that_no_change_leads_to_approval(serving: Serving) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    request = evidence_pb2.ReplayDecisionRequest(decision_id=decision.record_ref.decision_id, purpose=PURPOSE)

    recourse = (await serving.audit.ReplayDecision(request)).recourse

    assert (recourse.status, len(recourse.counterfactuals)) == (pb.RECOURSE_STATUS_NO_RECOURSE_FOUND, 0)


@pytest.mark.parametrize("modes", [[evidence_pb2.REPLAY_MODE_VERIFY], [evidence_pb2.REPLAY_MODE_SCORE]])
async def test_a_replay_without_the_explanation_states_no_changes(
    serving: Serving, modes: list[evidence_pb2.ReplayMode]
) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    request = evidence_pb2.ReplayDecisionRequest(
        decision_id=decision.record_ref.decision_id, purpose=PURPOSE, modes=modes
    )

    assert not (await serving.audit.ReplayDecision(request)).HasField("recourse")


async def test_a_replay_of_an_approval_or_of_a_changed_record_states_no_changes(serving: Serving) -> None:
    for outcome in (pb.DECISION_APPROVE, pb.DECISION_DECLINE):
        decision = await score_with_outcome(serving, outcome)
        decision_id = decision.record_ref.decision_id
        if outcome == pb.DECISION_DECLINE:
            set_columns(serving, decision_id, ciphertext=b"changed")
        request = evidence_pb2.ReplayDecisionRequest(decision_id=decision_id, purpose=PURPOSE)

        answer = await serving.audit.ReplayDecision(request)

        assert not answer.HasField("recourse")
    assert (await replay(serving, decision_id, "VERIFY"))["VERIFY"]
