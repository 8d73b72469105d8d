"""CreditService: assesses applications, records every decision, and answers only after the record is durable."""

import datetime as dt
from collections.abc import Callable

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds.customer.v1 import customer_pb2
from models.model import Model
from models.schema import FeatureInput, Schema
from server.decisions.assessment import Assessment, assess
from server.decisions.inputs import (
    applicable_section,
    check_fact_sources,
    check_features,
    merge_inputs,
)
from server.edges.credit.decision_records import RecordedAnswer, answer_from_record, decision_entry
from server.edges.credit.events import DecisionEvents
from server.edges.credit.feature_reads import FeatureReads
from server.edges.credit.messages import (
    application_from_request,
    assessment_message,
    decision_message,
    fill_assessment,
    score_response,
)
from server.edges.credit.outcomes import draft_outcome
from server.edges.credit.overrides import draft_override
from server.edges.credit.policy import policy_response
from server.edges.credit.recourse import RecourseFinder
from server.edges.explanations import timestamp
from server.edges.received_request import ReceivedRequest
from server.edges.recorder import Recorder
from server.edges.request_digest import content_sha256
from server.edges.thread_pool import StoreThreads
from server.errors import CustomerUnknown, NoActiveModel
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.registry.policy_registry import PolicyRegistry
from server.stores.features import FeatureStore
from server.stores.record_log.entries import new_record_id
from server.stores.record_log.log import RecordLog


class CreditServicer(credit_pb2_grpc.CreditServiceServicer):
    """Answers the calls of the loan desk."""

    def __init__(
        self,
        *,
        models: ModelRegistry,
        policies: PolicyRegistry,
        features: FeatureStore,
        recorder: Recorder,
        log: RecordLog,
        threads: StoreThreads,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """Create the servicer.

        Args:
            models: The registry of the models that serve now.
            policies: The registry of the policy in force.
            features: The store of customers' features.
            recorder: The recorder, which appends decisions and events to the record log.
            log: The record log, from which decisions and events are read.
            threads: The threads for work that waits for the database.
            clock: A function that returns the current time, with a time zone.
        """
        self._models, self._policies = models, policies
        self._features = FeatureReads(features, threads)
        self._recorder, self._log = recorder, log
        self._threads, self._clock = threads, clock
        self._recourse = RecourseFinder()
        self._events = DecisionEvents(log, recorder, threads, clock)

    async def ScoreCredit(self, request: pb.ScoreCreditRequest, received: ReceivedRequest) -> bytes:
        """Decide once per request_id. Answer a repeated request with the recorded decision.

        Returns:
            An encoded ScoreCreditResponse. The decision is encoded once, because the record contains the same bytes.
        """
        received_at = self._clock()
        digest = content_sha256(request, without="request_id")
        content = bytes.fromhex(digest)
        try:
            assessment, decision = await self._decide(request, digest)
        except Exception:
            # A repeated request may fail now although it succeeded earlier, because policy, model or features may have
            # changed. In that case, return the decision of the earlier request.
            earlier = await self._threads.run(
                self._log.find_by_request, received.caller.name, request.request_id.lower(), content
            )
            if earlier is None:
                raise
            return score_response(answer_from_record(earlier.body))
        encoded = decision.SerializeToString(deterministic=True)
        answer = RecordedAnswer(received, received_at, content, assessment, decision, encoded)
        entry = decision_entry(answer)
        record = await self._recorder.record(entry)
        # The log has one record per request_id. If that record belongs to an earlier or concurrent call, return the
        # decision of that call.
        if record.header.record_id != entry.record_id:
            encoded = answer_from_record(record.body)
        return score_response(encoded)

    async def SimulateCredit(
        self, request: pb.SimulateCreditRequest, _received: ReceivedRequest
    ) -> pb.SimulateCreditResponse:
        """Assess the customer with stored values only, and again with the caller's values. Record nothing."""
        model, policy, at = self._serving_model(request.customer.market), self._policies.current, self._clock()
        application, schema = application_from_request(request), model.bundle.schema
        section = applicable_section(policy, application, at)
        values, as_of = await self._read_features(request.customer, schema)
        check_features(application.features, schema, decides=False)
        known = assess(model, policy, application.question(section, merge_inputs(schema, values, as_of, {}), at))
        inputs = merge_inputs(schema, values, as_of, application.features)
        simulated = assess(model, policy, application.question(section, inputs, at))
        answer = pb.SimulateCreditResponse(known=assessment_message(known), simulated=assessment_message(simulated))
        if request.counterfactuals:
            answer.recourse.CopyFrom(await self._threads.run_long(self._recourse.find, simulated))
        return answer

    async def GetCreditDecision(
        self, request: pb.GetCreditDecisionRequest, received: ReceivedRequest
    ) -> pb.GetCreditDecisionResponse:
        """Return a decision as the caller of ScoreCredit received it, with its overrides and outcomes."""
        history = await self._threads.run(self._events.read_history, request.decision_id.lower(), received.caller)
        return pb.GetCreditDecisionResponse(
            credit_decision=history.decision, overrides=history.overrides, outcomes=history.outcomes
        )

    async def RecordOverride(
        self, request: pb.RecordOverrideRequest, received: ReceivedRequest
    ) -> pb.RecordOverrideResponse:
        """Record that a person replaced the policy's decision."""
        policy = self._policies.current
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
        return policy_response(self._policies.current, request, self._clock().astimezone(dt.UTC).date())

    async def _decide(self, request: pb.ScoreCreditRequest, digest: str) -> tuple[Assessment, pb.CreditDecision]:
        """Assess the application, and return the assessment and the decision. The caller must record the decision."""
        model, policy, at = self._serving_model(request.customer.market), self._policies.current, self._clock()
        application, schema = application_from_request(request), model.bundle.schema
        section = applicable_section(policy, application, at)
        check_features(application.features, schema, decides=True)
        check_fact_sources(application.facts, schema)
        values, as_of = await self._read_features(request.customer, schema)
        inputs = merge_inputs(schema, values, as_of, application.features)
        assessment = assess(model, policy, application.question(section, inputs, at))
        decision = pb.CreditDecision(
            record_ref=pb.RecordRef(
                decision_id=new_record_id(at),
                request_id=request.request_id,
                decide_time=timestamp(at),
                content_sha256=digest,
            ),
            customer=request.customer,
            requested_amount=request.requested_amount,
            decision=decision_message(assessment.outcome),
            expire_time=timestamp(at + dt.timedelta(days=section.valid_days)),
        )
        fill_assessment(decision.assessment, assessment)
        return assessment, decision

    def _serving_model(self, market: str) -> Model:
        """Return the credit model that serves a market.

        Raises:
            NoActiveModel: No credit model serves the market.
        """
        serving = self._models.current
        model = serving.model(CREDIT_FAMILY, market)
        if model is None:
            served = ", ".join(serving.markets(CREDIT_FAMILY)) or "none"
            raise NoActiveModel(
                f"no credit model is active for market {market}; markets with an active model: {served}", market=market
            )
        return model

    async def _read_features(
        self, customer: customer_pb2.Customer, schema: Schema
    ) -> tuple[dict[str, FeatureInput], dt.datetime | None]:
        """Read the customer's newest stored feature values and their as-of time; None if there are no values.

        Raises:
            CustomerUnknown: The store has no values of the customer, but the model needs features from the store.
        """
        stored = await self._features.find_newest(customer.market, customer.customer_id, schema)
        if stored is not None:
            return stored.values, stored.as_of
        if schema.store_features:
            raise CustomerUnknown(
                f"the feature store has no features of this customer in market {customer.market} for the active model",
                market=customer.market,
            )
        return {}, None
