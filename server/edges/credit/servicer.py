"""CreditService: assesses applications, records every decision, and answers only after the record is durable."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from server.decisions.assessment import assess
from server.edges.credit.batches import DecisionBatches
from server.edges.credit.customer_history import CustomerHistory
from server.edges.credit.decision_making import DecisionMaker, DecisionRequest, NewDecision
from server.edges.credit.events import DecisionEvents
from server.edges.credit.messages import assessment_message, score_response
from server.edges.credit.outcomes import draft_outcome
from server.edges.credit.overrides import draft_override
from server.edges.credit.policy import policy_response
from server.edges.credit.recourse import RecourseFinder
from server.edges.gathered_work import GatheredWork
from server.edges.identity.callers import Caller
from server.edges.received_request import ReceivedRequest
from server.edges.recording.recorder import Recorder
from server.edges.thread_pool import StoreThreads
from server.stores.features import FeatureStore

_GROUP_MAX = 32  # concurrent calls that are decided together


class CreditServicer(credit_pb2_grpc.CreditServiceServicer):
    """Answers the calls of the loan desk."""

    def __init__(
        self,
        *,
        maker: DecisionMaker,
        features: FeatureStore,
        recorder: Recorder,
        events: DecisionEvents,
        threads: StoreThreads,
        batches: DecisionBatches,
        history: CustomerHistory,
        write_notice: Callable[[str, str, Caller], Awaitable[pb.DecisionNotice]],
    ) -> None:
        """Create the servicer.

        Args:
            maker: Decides applications.
            features: The store of customers' features.
            recorder: The recorder, which appends decisions to the record log.
            events: Records and reads the overrides and outcomes of decisions.
            threads: The threads for work that waits for the database.
            batches: Answers batches.
            history: Lists the decisions about one customer.
            write_notice: Computes the notice of a decision for a locale and a caller.
        """
        self._maker, self._features, self._recorder = maker, features, recorder
        self._threads = threads
        self._write_notice, self._history = write_notice, history
        self._recourse = RecourseFinder()
        self._decisions, self._batches = GatheredWork(maker.decide, threads, _GROUP_MAX), batches
        self._events = events

    async def ScoreCredit(self, _request: pb.ScoreCreditRequest, received: ReceivedRequest) -> bytes:
        """Decide once per request_id. Answer a repeated request with the recorded decision.

        Returns:
            An encoded ScoreCreditResponse.
        """
        decided = DecisionRequest(received, self._maker.now())
        await self._decisions.run(decided)
        outcome = decided.outcome
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, NewDecision):
            record = await self._recorder.record(outcome.entry, received.times)
            received.times.decision_id = record.header.record_id
            outcome = self._maker.recorded_answer(outcome, record)
        assert outcome is not None, "every request has an outcome"
        return score_response(outcome)

    async def BatchScoreCredit(self, elements: Sequence[bytes], received: ReceivedRequest) -> AsyncIterator[bytes]:
        """Answer each request of a batch on its own. Yield encoded messages BatchScoreCreditResponse."""
        async with aclosing(self._batches.answer(elements, received.caller)) as parts:
            async for part in parts:
                yield part

    async def SimulateCredit(
        self, request: pb.SimulateCreditRequest, _received: ReceivedRequest
    ) -> pb.SimulateCreditResponse:
        """Assess the customer with stored values only, and again with the caller's values. Record nothing."""
        checked = self._maker.check(request, decides=False)
        market, customer_id, schema = request.customer.market, request.customer.customer_id, checked.model.bundle.schema
        stored = await self._threads.run(self._features.find_newest, market, customer_id, schema)
        with_stored_values = replace(checked, application=replace(checked.application, features={}))
        known = assess(checked.model, checked.policy, with_stored_values.question(stored))
        simulated = assess(checked.model, checked.policy, checked.question(stored))
        answer = pb.SimulateCreditResponse(known=assessment_message(known), simulated=assessment_message(simulated))
        if request.counterfactuals:
            answer.recourse.CopyFrom(await self._threads.run_long(self._recourse.find, simulated))
        return answer

    async def GetCreditDecision(
        self, request: pb.GetCreditDecisionRequest, received: ReceivedRequest
    ) -> pb.GetCreditDecisionResponse:
        """Return a decision as the caller of ScoreCredit received it, with its overrides and outcomes."""
        decision_id = request.decision_id.lower()
        history = await self._threads.run(self._events.read_history, decision_id, received.caller)
        answer = pb.GetCreditDecisionResponse(
            credit_decision=history.decision, overrides=history.overrides, outcomes=history.outcomes
        )
        if request.notice_locale:
            answer.notice.CopyFrom(await self._write_notice(decision_id, request.notice_locale, received.caller))
        return answer

    async def ListCustomerDecisions(
        self, request: pb.ListCustomerDecisionsRequest, received: ReceivedRequest
    ) -> pb.ListCustomerDecisionsResponse:
        """Return a page of the decisions about one customer, with the override and the outcome in force."""
        return await self._history.list_page(request, received.caller)

    async def RecordOverride(
        self, request: pb.RecordOverrideRequest, received: ReceivedRequest
    ) -> pb.RecordOverrideResponse:
        """Record that a person replaced the policy's decision."""
        policy = self._maker.policy
        answer = await self._events.record(
            request, received, lambda state: draft_override(request, policy, state, received.caller)
        )
        return pb.RecordOverrideResponse(override=pb.Override.FromString(answer))

    async def RecordOutcome(
        self, request: pb.RecordOutcomeRequest, received: ReceivedRequest
    ) -> pb.RecordOutcomeResponse:
        """Record an outcome of a loan: booking, days past due, default or cure."""
        answer = await self._events.record(request, received, lambda state: draft_outcome(request, state))
        return pb.RecordOutcomeResponse(outcome=pb.Outcome.FromString(answer))

    async def GetPolicy(self, request: pb.GetPolicyRequest, _received: ReceivedRequest) -> pb.GetPolicyResponse:
        """Return the sections of the policy: products, mandatory inputs, cut-offs, limits and rules."""
        return policy_response(self._maker.policy, request, self._maker.now().astimezone(dt.UTC).date())
