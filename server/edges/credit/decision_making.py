"""Decides requests: concurrent ScoreCredit calls are decided together, and so are the requests of a batch.

    check against model and policy -> read features -> assess -> build the decision and its log entry

All requests that are decided together share one query and one call of the model's graph. An error concerns only its own
request. The caller of this module must record a new decision before it answers.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from grounds.credit.v1 import credit_pb2 as pb
from models.model import Model
from server.decisions.assessment import Assessment, CreditQuestion, assess_several
from server.decisions.inputs import (
    CreditApplication,
    applicable_section,
    check_fact_sources,
    check_features,
    merge_inputs,
)
from server.decisions.policy import Policy, PolicySection
from server.decisions.policy_rules import is_near_cut_off
from server.edges.credit.decision_records import RecordedAnswer, answer_from_record, decision_entry
from server.edges.credit.messages import application_from_request, decision_message, fill_assessment
from server.edges.explanations import timestamp
from server.edges.received_request import ReceivedRequest
from server.edges.request_digest import content_sha256
from server.errors import CustomerUnknown, NoActiveModel, ServerError, StoreUnavailable
from server.monitoring.meters import FEATURES, SCORE, Meters
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.registry.policy_registry import PolicyRegistry
from server.stores.features import FeatureStore, StoredFeatures
from server.stores.record_log.entries import LogEntry, Record, new_record_id
from server.stores.record_log.log import RecordLog


@dataclass(frozen=True, slots=True)
class CheckedApplication:
    """An application that the model and the policy can decide, unless the customer is unknown.

    Attributes:
        application: The application in the request.
        model: The model that serves the market.
        policy: The policy in force.
        section: The section of the policy that applies.
        at: The time of the decision.
        activation_id: The id of the recorded activation under which the model serves the market.
    """

    application: CreditApplication
    model: Model
    policy: Policy
    section: PolicySection
    at: dt.datetime
    activation_id: str

    def question(self, stored: StoredFeatures | None) -> CreditQuestion:
        """Return the question to assess.

        Args:
            stored: The customer's newest stored features; None if there are none.

        Raises:
            CustomerUnknown: There are no stored features, but the model needs some.
        """
        schema, market = self.model.bundle.schema, self.application.market
        if stored is None and schema.store_features:
            raise CustomerUnknown(
                f"the feature store has no features of this customer in market {market} for the active model",
                market=market,
            )
        values, as_of = ({}, None) if stored is None else (stored.values, stored.as_of)
        inputs = merge_inputs(schema, values, as_of, self.application.features)
        return self.application.question(self.section, inputs, self.at)


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision that must be recorded.

    Attributes:
        entry: The log entry.
        encoded: The encoded CreditDecision.
        assessment: The assessment in the decision.
    """

    entry: LogEntry
    encoded: bytes
    assessment: Assessment


@dataclass(slots=True)
class DecisionRequest:
    """A request while it is decided. Each step sets one attribute, unless it raises an error.

    Attributes:
        received: The decoded request.
        received_at: The time at which the request arrived.
        application: The application, checked against model and policy.
        question: The question to assess.
        assessment: The answer of model and policy.
        outcome: None until the last step, unless an earlier step raised an error. Then a new decision, the encoded
            decision of an earlier request with the same request_id, or the error.
    """

    received: ReceivedRequest
    received_at: dt.datetime
    application: CheckedApplication = field(init=False)
    question: CreditQuestion = field(init=False)
    assessment: Assessment = field(init=False)
    outcome: NewDecision | bytes | Exception | None = None


class DecisionMaker:
    """Decides with the model and the policy that are in use now. Its methods may be called from any thread.

    Attributes:
        now: A function that returns the current time, with a time zone.
    """

    def __init__(
        self,
        models: ModelRegistry,
        policies: PolicyRegistry,
        features: FeatureStore,
        log: RecordLog,
        meters: Meters,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._models, self._policies, self._features = models, policies, features
        self._log, self._meters, self.now = log, meters, clock

    @property
    def policy(self) -> Policy:
        """Return the policy in force."""
        return self._policies.current

    def decide(self, requests: Sequence[DecisionRequest]) -> None:
        """Set the outcome of each request. This method waits for the database."""
        _run_step(self._check, requests)
        with _measure(FEATURES, requests):
            self._ask_questions([request for request in requests if request.outcome is None])
        with _measure(SCORE, requests):
            _assess([request for request in requests if request.outcome is None])
        _run_step(_build, requests)
        for request in requests:
            if isinstance(request.outcome, Exception):
                self._find_earlier(request)

    def recorded_answer(self, decision: NewDecision, record: Record) -> bytes:
        """Return the encoded CreditDecision to answer with, and count a new decision.

        The log has one record for each request_id. If the record belongs to an earlier or concurrent request, its
        decision is the answer.

        Args:
            decision: The decision that was made.
            record: The record of the request_id.
        """
        if record.header.record_id != decision.entry.record_id:
            return answer_from_record(record.body)
        _count_decision(self._meters, decision.assessment)
        return decision.encoded

    def check(
        self, request: pb.ScoreCreditRequest | pb.SimulateCreditRequest, *, decides: bool = True
    ) -> CheckedApplication:
        """Check a request, which has passed validation, against model and policy.

        Args:
            request: The request.
            decides: True for a decision, false for a simulation, which may replace stored values.

        Raises:
            NoActiveModel: No credit model serves the market.
            NoPolicy, CurrencyNotSupported, FeaturesInvalid: The policy or the model's schema rejects the request.
            StoreUnavailable: The activation of the policy is not recorded yet.
        """
        model, activation_id = self._serving_model(request.customer.market)
        policy, at = self.policy, self.now()
        if decides and not policy.activation_id:
            raise StoreUnavailable(
                "the activation of the policy could not be recorded, so nothing was decided; retry, and if this continues, run doctor on the server"
            )
        application, schema = application_from_request(request), model.bundle.schema
        section = applicable_section(policy, application, at)
        check_features(application.features, schema, decides=decides)
        if decides:
            check_fact_sources(application.facts, schema)
        return CheckedApplication(application, model, policy, section, at, activation_id)

    def _serving_model(self, market: str) -> tuple[Model, str]:
        """Return the credit model that serves a market, and the id of the activation under which it serves.

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
        return model, serving.activations.get((CREDIT_FAMILY, market), "")

    def _check(self, request: DecisionRequest) -> None:
        """Check a request against the model and the policy."""
        request.application = self.check(request.received.message)

    def _ask_questions(self, requests: Sequence[DecisionRequest]) -> None:
        """Set the question of each request, after reading the features of all customers."""
        customers = [request.received.message.customer for request in requests]
        schemas = [request.application.model.bundle.schema for request in requests]
        wanted = [(each.market, each.customer_id, schema) for each, schema in zip(customers, schemas, strict=True)]
        try:
            stored = iter(self._features.find_newest_each(wanted))
        except StoreUnavailable as error:
            for request in requests:
                # One exception for each request, because a shared one would collect the tracebacks of all callers.
                request.outcome = error.copy()
            return

        def ask(request: DecisionRequest) -> None:
            request.question = request.application.question(next(stored))

        _run_step(ask, requests)

    def _find_earlier(self, request: DecisionRequest) -> None:
        """Replace the error of a request by the decision of an earlier request with the same request_id, if any.

        A repeated request may fail although it succeeded earlier, because policy, model or features may have changed.
        """
        message, caller = request.received.message, request.received.caller
        content = bytes.fromhex(content_sha256(message, without="request_id"))
        try:
            earlier = self._log.find_by_request(caller.name, message.request_id.lower(), content)
        except ServerError as error:
            request.outcome = error
        else:
            if earlier is not None:
                request.outcome = answer_from_record(earlier.body)
                request.received.times.decision_id = earlier.header.record_id


@contextmanager
def _measure(stage: str, requests: Sequence[DecisionRequest]) -> Iterator[None]:
    """Measure a stage of requests that have no error yet. Each of them waits until the stage has ended for all."""
    with ExitStack() as timers:
        for request in requests:
            if request.outcome is None:
                timers.enter_context(request.received.times.measure(stage))
        yield


def _count_decision(meters: Meters, assessment: Assessment) -> None:
    """Count a new decision."""
    score, section = assessment.score, assessment.section
    times = [given.as_of for given in assessment.inputs.values() if given.as_of is not None]
    meters.count_decision(
        section.market,
        assessment.outcome.name,
        "" if score is None else score.grade,
        near=score is not None and is_near_cut_off(section, score.log_odds),
        age_seconds=(assessment.question.at - min(times)).total_seconds() if times else None,
    )


def _run_step(step: Callable[[DecisionRequest], None], requests: Sequence[DecisionRequest]) -> None:
    """Run a step for each request that has no error yet. An error is the outcome of its own request only."""
    for request in requests:
        if request.outcome is None:
            try:
                step(request)
            except Exception as error:  # noqa: BLE001 - also a bug concerns this request only; its caller reports it
                request.outcome = error


def _assess(requests: Sequence[DecisionRequest]) -> None:
    """Set the assessment of each request. Customers of the same model and policy are scored together."""
    groups: dict[tuple[int, int], list[DecisionRequest]] = {}
    for request in requests:
        groups.setdefault((id(request.application.model), id(request.application.policy)), []).append(request)
    for group in groups.values():
        application = group[0].application
        try:
            results = assess_several(application.model, application.policy, [each.question for each in group])
        except Exception as error:  # noqa: BLE001 - also a bug concerns this group only; its callers report it
            for request in group:
                request.outcome = error
            continue
        for request, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                request.outcome = result
            else:
                request.assessment = result


def _build(request: DecisionRequest) -> None:
    """Build the decision of a request and its log entry."""
    message, at = request.received.message, request.application.at
    digest = content_sha256(message, without="request_id")
    decision = pb.CreditDecision(
        record_ref=pb.RecordRef(
            decision_id=new_record_id(at),
            request_id=message.request_id,
            decide_time=timestamp(at),
            content_sha256=digest,
        ),
        customer=message.customer,
        requested_amount=message.requested_amount,
        decision=decision_message(request.assessment.outcome),
        expire_time=timestamp(at + dt.timedelta(days=request.application.section.valid_days)),
    )
    fill_assessment(decision.assessment, request.assessment)
    # The decision is encoded once, because the record and the answer contain the same bytes.
    encoded = decision.SerializeToString(deterministic=True)
    answer = RecordedAnswer(
        request.received,
        request.received_at,
        bytes.fromhex(digest),
        request.assessment,
        decision,
        encoded,
        request.application.activation_id,
    )
    request.outcome = NewDecision(decision_entry(answer), encoded, request.assessment)
