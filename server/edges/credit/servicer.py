"""CreditService: decodes, calls the decision, keeps the answer, and only then gives it."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from models.model import Model
from models.schema import FeatureInput, Schema
from server.decisions.assessment import Assessment, CreditQuestion, SourcedValue, assess
from server.decisions.policy import STANDARD, Policy, PolicySection
from server.edges.authorization import LOCAL_CALLER
from server.edges.context import Context
from server.edges.credit.assessments import assessment_message
from server.edges.credit.decision_records import DecisionRecordSource, decision_entry, decision_from_record
from server.edges.credit.events import DecisionEvents
from server.edges.credit.outcomes import draft_outcome
from server.edges.credit.overrides import draft_override
from server.edges.credit.recourse import RecourseFinder
from server.edges.explanations import feature_values, timestamp
from server.edges.money import amount_from_money
from server.edges.received_request import RECEIVED
from server.edges.recorder import Recorder
from server.edges.request_digest import content_sha256
from server.edges.thread_pool import StoreThreads
from server.errors import (
    CurrencyNotServed,
    CustomerUnknown,
    FeaturesInvalid,
    NoActiveModel,
    NoPolicy,
    Violation,
)
from server.registry.model_registry import ModelRegistry
from server.registry.policy_registry import PolicyRegistry
from server.stores.features import FeatureStore, StoredFeatures
from server.stores.record_log.entries import new_record_id
from server.stores.record_log.log import RecordLog

FAMILY = "credit"


Asked = pb.ScoreCreditRequest | pb.SimulateCreditRequest


class CreditServicer(credit_pb2_grpc.CreditServiceServicer):
    """Answers the loan desk.

    Attributes:
        recorder: Records decisions.
        decisions: Reads them back.
        clock: Gives the time of a decision, with its zone.
    """

    def __init__(
        self,
        lineup: ModelRegistry,
        policies: PolicyRegistry,
        features: FeatureStore,
        records: tuple[Recorder, RecordLog],
        threads: StoreThreads,
        *,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self.lineup, self.policies = lineup, policies
        self.features = features
        self.recorder, self.decisions = records
        self.threads, self.clock = threads, clock
        self.recourses = RecourseFinder()
        self.events = DecisionEvents(self.decisions, self.recorder, threads, clock)

    async def ScoreCredit(self, request: pb.ScoreCreditRequest, _context: Context) -> pb.ScoreCreditResponse:
        """Decide once per request_id."""
        received_at = self.clock()
        digest = content_sha256(request, without="request_id")
        content = bytes.fromhex(digest)
        try:
            assessment, decision = await self.decide(request, digest)
        except Exception:
            # What is refused today, or fails, may have been answered before.
            earlier = await self.threads.run(
                self.decisions.find_by_request, LOCAL_CALLER, request.request_id.lower(), content
            )
            if earlier is None:
                raise
            return pb.ScoreCreditResponse(credit_decision=decision_from_record(earlier.body))
        entry = decision_entry(DecisionRecordSource(RECEIVED.get(), received_at, content, assessment, decision))
        kept = await self.recorder.record(entry)
        if kept.header.record_id != entry.record_id:
            decision = decision_from_record(kept.body)
        return pb.ScoreCreditResponse(credit_decision=decision)

    async def SimulateCredit(self, request: pb.SimulateCreditRequest, _context: Context) -> pb.SimulateCreditResponse:
        """Assess the customer as known and as given; keep nothing."""
        model, asked = self.model_for(request), self.asking(request)
        schema = model.bundle.schema
        stored = await self.stored_features(request, schema)
        given = checked(request, schema, decides=False)
        known = assess(model, asked.policy, asked.question(inputs_of(schema, stored, {})))
        simulated = assess(model, asked.policy, asked.question(inputs_of(schema, stored, given)))
        answer = pb.SimulateCreditResponse(known=assessment_message(known), simulated=assessment_message(simulated))
        if request.counterfactuals:
            answer.recourse.CopyFrom(await self.threads.run(self.recourses.of, simulated))
        return answer

    async def GetCreditDecision(
        self, request: pb.GetCreditDecisionRequest, _context: Context
    ) -> pb.GetCreditDecisionResponse:
        """Give what was answered then."""
        kept, overrides, outcomes = await self.threads.run(self.events.read, request.decision_id.lower())
        return pb.GetCreditDecisionResponse(
            credit_decision=decision_from_record(kept.body), overrides=overrides, outcomes=outcomes
        )

    async def RecordOverride(self, request: pb.RecordOverrideRequest, _context: Context) -> pb.RecordOverrideResponse:
        """Record what a person decided otherwise."""
        policy = self.policies.current
        answer = await self.events.record(request, lambda asking: draft_override(request, policy, asking))
        return pb.RecordOverrideResponse(override=pb.Override.FromString(answer))

    async def RecordOutcome(self, request: pb.RecordOutcomeRequest, _context: Context) -> pb.RecordOutcomeResponse:
        """Record what became of a decision."""
        answer = await self.events.record(request, lambda asking: draft_outcome(request, asking))
        return pb.RecordOutcomeResponse(outcome=pb.Outcome.FromString(answer))

    async def decide(self, request: pb.ScoreCreditRequest, digest: str) -> tuple[Assessment, pb.CreditDecision]:
        """Make the decision, not yet recorded."""
        model, asked = self.model_for(request), self.asking(request)
        given = checked(request, model.bundle.schema, decides=True)
        refuse_facts_of_the_store(request, model.bundle.schema)
        stored = await self.stored_features(request, model.bundle.schema)
        assessment = assess(model, asked.policy, asked.question(inputs_of(model.bundle.schema, stored, given)))
        decision = pb.CreditDecision(
            record_ref=pb.RecordRef(
                decision_id=new_record_id(asked.at),
                request_id=request.request_id,
                decide_time=timestamp(asked.at),
                content_sha256=digest,
            ),
            customer=request.customer,
            requested_amount=request.requested_amount,
            decision=pb.Decision.Name(assessment.outcome),
            assessment=assessment_message(assessment),
            expire_time=timestamp(asked.at + dt.timedelta(days=asked.section.valid_days)),
        )
        return assessment, decision

    def model_for(self, request: Asked) -> Model:
        """Give the model that answers, or refuse."""
        market = request.customer.market
        model = self.lineup.current.model(FAMILY, market)
        if model is None:
            served = ", ".join(self.lineup.current.markets(FAMILY)) or "none"
            raise NoActiveModel(f"no credit model is active for market {market}; served: {served}", market=market)
        return model

    def asking(self, request: Asked) -> "Asking":
        """Find the section of the policy that answers, or refuse: none holds, another currency, an unknown fact."""
        policy, at = self.policies.current, self.clock()
        market, product = request.customer.market, request.product or STANDARD
        section = policy.section(market, product, at.astimezone(dt.UTC).date())
        if section is None:
            raise NoPolicy(
                f"the policy has no section for product {product} in market {market} today; an operator adds one to the policy file",
                market=market,
            )
        if request.requested_amount.currency_code != section.currency:
            field = Violation("requested_amount.currency_code", f"must be {section.currency} in {market}", "CURRENCY")
            raise CurrencyNotServed(
                f"requested_amount.currency_code {field.problem}", violations=[field], market=market
            )
        refuse_unknown_facts(request, section)
        return Asking(request, policy, section, at)

    async def stored_features(self, request: Asked, schema: Schema) -> StoredFeatures | None:
        """Read what the store knows; a customer without features is unknown to a model that needs them."""
        customer = request.customer
        stored = await self.threads.run(self.features.find_newest, customer.market, customer.customer_id, schema)
        if stored is None and any(feature.source == "STORE" for feature in schema.features):
            raise CustomerUnknown(
                f"market {customer.market} has no features of this customer for the active model",
                market=customer.market,
            )
        return stored


def checked(request: Asked, schema: Schema, *, decides: bool) -> dict[str, FeatureInput]:
    """Give the caller's values, all of them right.

    Raises:
        FeaturesInvalid: Names every value that is not.
    """
    values = feature_values(request.features)
    problems = schema.problems(values, decides=decides)
    if problems:
        violations = [Violation(f'features["{p.feature}"]', p.problem, p.kind) for p in problems]
        raise FeaturesInvalid("; ".join(f"{v.field} {v.problem}" for v in violations[:3]), violations=violations)
    return values


def inputs_of(
    schema: Schema, stored: StoredFeatures | None, given: Mapping[str, FeatureInput]
) -> dict[str, SourcedValue]:
    """Put a caller's values over those of the store; what only the caller may give is not taken from the store."""
    known = {} if stored is None else stored.values
    sources = {feature.name: feature.source for feature in schema.features}
    inputs = {
        name: SourcedValue(value, "STORE", stored.as_of)
        for name, value in known.items()
        if stored and sources[name] != "CALLER"
    }
    return inputs | {name: SourcedValue(value, "CALLER", None) for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Asking:
    """A request with the policy that answers it, and the moment of asking."""

    request: Asked
    policy: Policy
    section: PolicySection
    at: dt.datetime

    def question(self, inputs: Mapping[str, SourcedValue]) -> CreditQuestion:
        """Put the question for some inputs."""
        request = self.request
        amount = amount_from_money(request.requested_amount)
        return CreditQuestion(self.section, inputs, feature_values(request.facts), amount, self.at, request.locale)


def refuse_unknown_facts(request: Asked, section: PolicySection) -> None:
    """Refuse facts that no rule asks for, and levels that no rule names: a misspelt one would go unseen."""
    asked = {rule.fact: "level" if rule.level is not None else "number" for rule in section.rules}
    allowed = ", ".join(sorted(asked)) or "none"
    problems = []
    for name, value in sorted(request.facts.items()):
        levels = levels_of(section, name)
        if name not in asked:
            problems.append(Violation(f'facts["{name}"]', f"no rule asks for it; asked for: {allowed}", "UNKNOWN"))
        elif value.WhichOneof("kind") != asked[name]:
            problems.append(Violation(f'facts["{name}"]', f"must be a {asked[name]}", "KIND"))
        elif levels and value.level not in levels:
            problems.append(Violation(f'facts["{name}"]', f"must be one of: {', '.join(levels)}", "LEVEL"))
    if problems:
        raise FeaturesInvalid("; ".join(f"{v.field} {v.problem}" for v in problems[:3]), violations=problems)


def levels_of(section: PolicySection, fact: str) -> list[str]:
    """Give the levels that the rules know of a fact; none where one of them lets every other level pass."""
    rules = [rule for rule in section.rules if rule.fact == fact and rule.level is not None]
    if not all(rule.passes for rule in rules):
        return []
    return sorted({level for rule in rules for level in (str(rule.level), *rule.passes)})


def refuse_facts_of_the_store(request: pb.ScoreCreditRequest, schema: Schema) -> None:
    """Refuse facts that would stand above what the store knows: an officer does not overwrite days late in a rule either."""
    of_store = {feature.name for feature in schema.features if feature.source == "STORE"}
    problem = "is a feature that comes from the feature store and is not the caller's to give"
    problems = [
        Violation(f'facts["{name}"]', problem, "SOURCE_NOT_ALLOWED") for name in sorted(of_store & set(request.facts))
    ]
    if problems:
        raise FeaturesInvalid("; ".join(f"{v.field} {v.problem}" for v in problems[:3]), violations=problems)
