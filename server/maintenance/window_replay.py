"""Replays the recorded decisions of a window with another policy or another bundle, without making a decision.

Each recorded application is assessed again with the recorded inputs, as of the time of its decision. The answer is the one
that `SimulateCredit` would have given at that time if the candidate had been in use. The answers are compared with what was
recorded. What a person decided later, in an override, is not compared.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds.customer.v1.customer_pb2 import Customer
from models.errors import AdditivityError
from models.model import Model
from server.decisions.assessment import Assessment, CreditQuestion, assess_several
from server.decisions.inputs import (
    CreditApplication,
    check_facts,
    compatible_inputs,
    features_without_record,
    merge_inputs,
)
from server.decisions.policy import Policy, PolicyOutcome, PolicySection, parse_policy
from server.decisions.sourced_values import SourcedValue
from server.decisions.window_comparison import ComparedDecision, PolicyAnswer, policy_answer
from server.edges.audit.decision_replay import sourced_value
from server.edges.audit.readings import WindowReading, record_window_reading
from server.edges.credit.messages import application_from_request
from server.edges.explanations import time_from_timestamp
from server.edges.money import amount_from_money
from server.errors import BundleNotReadable, BundleUnknown, FeaturesInvalid, PolicyRefused, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache, refuse_unusable_bundle
from server.stores.catalog.policies import PolicyStore
from server.stores.features import FeatureStore
from server.stores.record_log.decision_index import DecisionIndex, DecisionQuery
from server.stores.record_log.entries import Record
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import CUSTOMER_ERASED

METHOD = "replay-window"  # in the record of the reading
_TOGETHER = 512  # decisions that are scored together
_NO_SECTION = "the policy has no section for market, product and day"
_OTHER_CURRENCY = "the policy uses a different currency"
_UNKNOWN_FACT = "a fact has a level that the policy does not know"
_OTHER_MARKET = "the bundle may not serve the market"
_NO_BUNDLE, _NO_POLICY = "the recorded bundle is missing or invalid", "the recorded policy is missing or invalid"
_NO_INPUTS = "features of the bundle were neither recorded nor stored at the time: {}"
_NOT_ADDITIVE = "the contributions of the model do not add up to the score"


@dataclass(frozen=True, slots=True)
class Candidate:
    """The policy and the bundle to try.

    Attributes:
        policy: The policy; None uses the recorded policy of each decision.
        bundle_id: The bundle; "" uses the recorded bundle of each decision.
        day: The day whose policy sections apply; None means the day of each decision.
    """

    policy: Policy | None = None
    bundle_id: str = ""
    day: dt.date | None = None


@dataclass(slots=True)
class WindowCounts:
    """How many decisions of a window were replayed, and why others were not.

    Attributes:
        decisions: Number of decisions in the window.
        replayed: Number of decisions that were replayed.
        left_out: Number of decisions that were not replayed, by reason.
        erased_customers: Number of customers in the window who were erased.
    """

    decisions: int = 0
    replayed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    erased_customers: int = 0


@dataclass(frozen=True, slots=True)
class _ReplayCase:
    """A recorded decision that can be assessed again."""

    record_id: str
    recorded: audit_pb2.DecisionRecord
    answer: credit_pb2.CreditDecision
    application: CreditApplication
    model: Model
    policy: Policy
    question: CreditQuestion


class _LeftOut(Exception):
    """A decision cannot be replayed. The message is the reason."""


class WindowReplayer:
    """Replays windows of decisions.

    Attributes:
        counts: The counts of the window that was replayed last.
    """

    def __init__(self, log: RecordLog, bundles: BundleCache, candidate: Candidate) -> None:
        self._log, self._bundles, self._candidate = log, bundles, candidate
        self._policies, self._features = PolicyStore(log.database), FeatureStore(log.database)
        self._parsed: dict[str, Policy] = {}
        self.counts = WindowCounts()

    def replay(self, query: DecisionQuery, purpose: str, operator: str, at: dt.datetime) -> Iterator[ComparedDecision]:
        """Record the reading of the window, then yield each recorded decision with the answer of the candidate.

        Args:
            query: Conditions on the decisions.
            purpose: Why the evidence is read, which is recorded permanently.
            operator: Account of the operator.
            at: The time of the record of the reading.

        Raises:
            BundleUnknown, BundleNotReadable: The bundle of the candidate cannot be opened, or cannot score.
            StoreUnavailable: The database does not answer, or the reading was not recorded. Nothing is yielded then.
        """
        if self._candidate.bundle_id:
            self._bundles.open_model(self._candidate.bundle_id)
        indexes = DecisionIndex(self._log.database).read_indexes(query)
        self.counts = WindowCounts(decisions=len(indexes))
        reading = WindowReading(
            method=METHOD,
            window=query,
            decision_count=self.counts.decisions,
            purpose=purpose,
            operator=operator,
            bundle_id=self._candidate.bundle_id,
            policy_sha256=self._candidate.policy.sha256 if self._candidate.policy else "",
        )
        record_window_reading(self._log, reading, at)
        return self._compare(indexes)

    def _compare(self, indexes: Sequence[int]) -> Iterator[ComparedDecision]:
        """Yield the compared decisions with these record indexes."""
        erased: set[str] = set()
        for start in range(0, len(indexes), _TOGETHER):
            cases = []
            for tag, found in self._log.reader.open_each(indexes[start : start + _TOGETHER]):
                try:
                    cases.append(self._case(found))
                except _LeftOut as reason:
                    self.counts.left_out[str(reason)] += 1
                    if str(reason) == CUSTOMER_ERASED:
                        erased.add(tag)
            self.counts.erased_customers = len(erased)
            yield from self._assess(cases)

    def _case(self, found: Record | str) -> _ReplayCase:
        """Return the case of a record.

        Raises:
            _LeftOut: The decision cannot be replayed.
        """
        if isinstance(found, str):
            raise _LeftOut(found)
        recorded = audit_pb2.DecisionRecord.FromString(found.body)
        request = credit_pb2.ScoreCreditRequest.FromString(recorded.request)
        application = application_from_request(request)
        model, policy = self._model(recorded, application.market), self._policy(recorded)
        at = time_from_timestamp(recorded.decide_time)
        section = _section(policy, application, self._candidate.day or at.date())
        # The rules of the candidate may use other facts than those of the recorded policy.
        used = {rule.fact for rule in section.rules}
        application = replace(
            application, facts={name: value for name, value in application.facts.items() if name in used}
        )
        try:
            check_facts(application.facts, section)
        except FeaturesInvalid as error:
            raise _LeftOut(_UNKNOWN_FACT) from error
        inputs = self._inputs(recorded, model, request.customer, at)
        return _ReplayCase(
            record_id=found.header.record_id,
            recorded=recorded,
            answer=credit_pb2.CreditDecision.FromString(recorded.answer),
            application=application,
            model=model,
            policy=policy,
            question=application.question(section, inputs, at),
        )

    def _inputs(
        self, recorded: audit_pb2.DecisionRecord, model: Model, customer: Customer, at: dt.datetime
    ) -> dict[str, SourcedValue]:
        """Return the recorded inputs that a model can use.

        Features of a candidate that were not recorded are read from the feature store, if it has values of that time.

        Raises:
            _LeftOut: Features were neither recorded nor stored, so the model would be judged by less than it would have known.
        """
        schema = model.bundle.schema
        values = {each.feature: sourced_value(each) for each in recorded.features if each.HasField("value")}
        inputs = compatible_inputs(schema, values)
        if not (names := features_without_record(schema, [each.feature for each in recorded.features], values)):
            return inputs
        stored = self._features.find_until(customer.market, customer.customer_id, schema, at)
        absent = [name for name in names if stored is None or name in schema.caller_features]
        if absent or stored is None:
            raise _LeftOut(_NO_INPUTS.format(", ".join(absent)))
        unrecorded = {name: stored.values[name] for name in names if name in stored.values}
        return inputs | merge_inputs(schema, unrecorded, stored.as_of, {})

    def _model(self, recorded: audit_pb2.DecisionRecord, market: str) -> Model:
        """Return the model that assesses a decision again."""
        if self._candidate.bundle_id:
            model = self._bundles.open_model(self._candidate.bundle_id)
            if market not in model.bundle.manifest.markets:
                raise _LeftOut(_OTHER_MARKET)
            return model
        try:
            return self._bundles.open_model(recorded.bundle_id)
        except (BundleUnknown, BundleNotReadable) as error:
            raise _LeftOut(_NO_BUNDLE) from error

    def _policy(self, recorded: audit_pb2.DecisionRecord) -> Policy:
        """Return the policy that assesses a decision again."""
        if self._candidate.policy is not None:
            return self._candidate.policy
        sha256 = recorded.policy_sha256
        if sha256 not in self._parsed:
            try:
                content = self._policies.find(sha256)
                if content is None:
                    raise _LeftOut(_NO_POLICY)
                self._parsed[sha256] = parse_policy(content, f"policy {sha256}")
            except (PolicyRefused, RecordDamaged) as error:
                raise _LeftOut(_NO_POLICY) from error
        return self._parsed[sha256]

    def _assess(self, cases: Sequence[_ReplayCase]) -> Iterator[ComparedDecision]:
        """Assess cases, those of the same model and policy together, and yield the compared decisions."""
        groups: dict[tuple[str, str], list[_ReplayCase]] = {}
        for case in cases:
            groups.setdefault((case.model.bundle.bundle_id, case.policy.sha256), []).append(case)
        for group in groups.values():
            model = group[0].model
            try:
                with refuse_unusable_bundle(model.bundle.bundle_id):
                    results = assess_several(model, group[0].policy, [case.question for case in group])
            except BundleNotReadable:
                if self._candidate.bundle_id:
                    raise
                self.counts.left_out[_NO_BUNDLE] += len(
                    group
                )  # the other decisions can still be replayed with their own bundles
                continue
            for case, result in zip(group, results, strict=True):
                if isinstance(result, AdditivityError):
                    self.counts.left_out[_NOT_ADDITIVE] += 1
                else:
                    self.counts.replayed += 1
                    yield _compare_case(case, result)


def _section(policy: Policy, application: CreditApplication, day: dt.date) -> PolicySection:
    """Return the section of a policy that applies to an application on a day.

    Raises:
        _LeftOut: There is none, or it has a different currency.
    """
    section = policy.section(application.market, application.product, day)
    if section is None:
        raise _LeftOut(_NO_SECTION)
    if section.currency != application.currency:
        raise _LeftOut(_OTHER_CURRENCY)
    return section


def _compare_case(case: _ReplayCase, assessment: Assessment) -> ComparedDecision:
    """Return a recorded decision with the answer of the candidate."""
    application = case.application
    return ComparedDecision(
        decision_id=case.record_id,
        market=application.market,
        currency=application.currency,
        requested=application.amount,
        before=_recorded_answer(case.answer, application.amount),
        after=_new_answer(assessment, application.amount),
    )


def _recorded_answer(decision: credit_pb2.CreditDecision, requested: Decimal) -> PolicyAnswer:
    """Return the recorded answer."""
    assessment, result = decision.assessment, decision.assessment.policy_result
    is_scored = assessment.HasField("model_output")
    return policy_answer(
        PolicyOutcome(int(result.decision)),
        grade=assessment.model_output.grade,
        pd=assessment.model_output.pd if is_scored else None,
        requested=requested,
        approvable=amount_from_money(result.approvable_amount),
        lgd=Decimal(str(result.lgd)),
        reasons=tuple(reason.code for reason in assessment.reasons.reasons),
    )


def _new_answer(assessment: Assessment, requested: Decimal) -> PolicyAnswer:
    """Return the answer of the candidate."""
    score, grant = assessment.score, assessment.grant
    return policy_answer(
        assessment.outcome,
        grade="" if score is None else score.grade,
        pd=None if score is None else score.pd,
        requested=requested,
        approvable=Decimal(0) if grant is None else grant.approvable,
        lgd=assessment.section.lgd,
        reasons=tuple(reason.code for reason in assessment.reasons),
    )
