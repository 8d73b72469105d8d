"""Replay of a credit decision: assesses the recorded application again, and compares the result with the record.

The replay uses the bundle and the policy that the record states, not those that are used today.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2 as ev
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from models.errors import AdditivityError, BundleInvalid
from models.model import Model
from models.reasons import DEFAULT_LOCALE
from models.schema import Schema
from server.decisions.assessment import Assessment, assess
from server.decisions.inputs import CreditApplication, compatible_inputs, features_without_record, merge_inputs
from server.decisions.policy import Policy
from server.decisions.replay_verdict import ReplayMismatch, ReplayVerdict, Scalar, compare_fields
from server.decisions.sourced_values import SourcedValue
from server.edges.audit.approved_changes import find_approved_changes
from server.edges.audit.decision_evidence import DecisionLookup, find_decision
from server.edges.audit.proofs import verify_stored_record
from server.edges.audit.readings import Reading, ReadingRecorder
from server.edges.audit.recorded_policy import parse_recorded_policy
from server.edges.audit.replay_results import (
    WHAT_IF_NOTICE,
    ReplayUnavailable,
    flat_fields,
    missing_features_text,
    verdict_result,
)
from server.edges.credit.decision_records import model_numbers, runtime_message
from server.edges.credit.messages import application_from_request, assessment_message
from server.edges.credit.recourse import RecourseFinder
from server.edges.credit.templates import recorded_inputs
from server.edges.explanations import feature_value, time_from_timestamp, timestamp
from server.edges.identity.callers import Caller
from server.edges.thread_pool import StoreThreads
from server.errors import BundleNotReadable, BundleUnknown, PolicyRefused, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache, refuse_unusable_bundle
from server.stores.catalog.policies import PolicyStore
from server.stores.features import FeatureStore
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader

_DEFAULT_MODES = (ev.REPLAY_MODE_VERIFY, ev.REPLAY_MODE_FEATURES, ev.REPLAY_MODE_SCORE, ev.REPLAY_MODE_EXPLANATION)
# No mode compares these fields of the answer, because a replay does not compute them again.
_COPIED_FIELDS = ("record_ref", "customer", "requested_amount")
# The fields of an assessment that only the mode SCORE compares, and those that only the mode EXPLANATION compares.
_SCORE_FIELDS = ("model_output", "recommendation", "policy_result")
_EXPLANATION_FIELDS = ("explanation", "reasons", "warnings")


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision decoded from its record.

    Attributes:
        body: The body of the record.
        customer: The customer's market and customer_id.
        application: The credit application in the recorded request.
        decision: The recorded answer.
    """

    body: pb.DecisionRecord
    customer: tuple[str, str]
    application: CreditApplication
    decision: credit_pb2.CreditDecision

    @property
    def at(self) -> dt.datetime:
        """Return the time of the decision."""
        return time_from_timestamp(self.body.decide_time)

    def inputs(self) -> dict[str, SourcedValue]:
        """Return the model inputs by feature name, without missing values."""
        return {message.feature: sourced_value(message) for message in self.body.features if message.HasField("value")}


class ReplaySources:
    """Reads the artifacts that a decision was made from: bundle, policy file and stored features.

    Every method except `open_other_model` raises ReplayUnavailable if it needs an artifact that is missing or damaged.
    """

    def __init__(self, bundles: BundleCache, policies: PolicyStore, features: FeatureStore) -> None:
        self._bundles, self._policies, self._features = bundles, policies, features

    def open_other_model(self, bundle_id: str) -> Model:
        """Open the bundle of a what-if.

        Raises:
            BundleUnknown, BundleNotReadable: See BundleCache.open_model.
        """
        return self._bundles.open_model(bundle_id)

    def decode(self, found: DecisionLookup) -> RecordedDecision:
        """Decode the record of a decision."""
        if found.body is not None:
            request = credit_pb2.ScoreCreditRequest.FromString(found.body.request)
            return RecordedDecision(
                body=found.body,
                customer=(request.customer.market, request.customer.customer_id),
                application=application_from_request(request),
                decision=credit_pb2.CreditDecision.FromString(found.body.answer),
            )
        if found.damage:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_RECORD_DAMAGED, found.damage)
        reason = "the customer was erased, or retention removed the record's body"
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_INPUT_ERASED, reason)

    def open_model(self, recorded: RecordedDecision) -> Model:
        """Open the bundle that the decision was made with."""
        try:
            return self._bundles.open_model(recorded.body.bundle_id)
        except (BundleUnknown, BundleNotReadable) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)) from error

    def read_policy(self, recorded: RecordedDecision) -> Policy:
        """Read the policy that the decision was made with."""
        try:
            content = self._policies.find(recorded.body.policy_sha256)
            if content is None:
                raise ReplayUnavailable(
                    ev.UNAVAILABLE_REASON_POLICY_MISSING, "the policy file of the decision is not in the database"
                )
            return parse_recorded_policy(content)
        except (RecordDamaged, PolicyRefused) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_POLICY_MISSING, str(error)) from error

    def read_inputs(self, recorded: RecordedDecision, schema: Schema) -> Mapping[str, SourcedValue]:
        """Merge the features of the recorded request with the stored features as of the recorded time."""
        known = [given for given in recorded.inputs().values() if given.source == "STORE"]
        given = recorded.application.features
        if not known:
            return merge_inputs(schema, {}, None, given)
        as_of = known[0].as_of  # all stored values of a decision come from one row, so they have the same time
        assert as_of is not None, "every stored value has a time"
        stored = self._features.find_at(*recorded.customer, schema, as_of)
        if stored is None:
            reason = f"the feature store no longer has the row of this customer as of {as_of.isoformat()}"
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_FEATURES_MISSING, reason)
        return merge_inputs(schema, stored.values, stored.as_of, given)


class DecisionReplayer:
    """Answers ReplayDecision, and records every reading before it answers."""

    def __init__(
        self,
        *,
        readings: ReadingRecorder,
        log: RecordLog,
        proofs: ProofReader,
        sources: ReplaySources,
        threads: StoreThreads,
    ) -> None:
        self._readings, self._log, self._proofs = readings, log, proofs
        self._sources, self._threads = sources, threads

    async def replay(self, request: ev.ReplayDecisionRequest, caller: Caller) -> pb.ReplayDecisionResponse:
        """Return one result for each requested mode. A request without modes means all modes except WHAT_IF.

        Raises:
            DecisionUnknown: There is no such decision, or the caller may not ask about its market.
            BundleUnknown, BundleNotReadable: The bundle of the what-if cannot be opened.
            StoreUnavailable: The database does not answer, or the reading was not recorded.
        """
        decision_id = request.decision_id.lower()
        modes = tuple(request.modes) or _DEFAULT_MODES
        found = await self._threads.run(find_decision, self._log.reader, decision_id, caller)
        other = None
        if request.bundle_id:
            other = await self._threads.run_long(self._sources.open_other_model, request.bundle_id)
        reading = await self._readings.record(
            Reading(caller.name, decision_id, "ReplayDecision", request.purpose, modes, request.bundle_id)
        )
        answer = pb.ReplayDecisionResponse(decision_id=decision_id, replay_runtime=runtime_message(), reading=reading)
        if found.body is not None:
            answer.recorded_runtime.CopyFrom(found.body.runtime)
        for mode in modes:
            answer.results.append(await self._threads.run_long(self._replay_mode, mode, decision_id, found, other))
        if any(each.mode == ev.REPLAY_MODE_EXPLANATION and _holds(each) for each in answer.results):
            changes = await self._threads.run_long(self._find_changes, found)
            if changes is not None:
                answer.recourse.CopyFrom(changes)
        return answer

    def _find_changes(self, found: DecisionLookup) -> credit_pb2.Recourse | None:
        """Return what would have led to an approval; None if it was approved, or if nothing can be said.

        The verdicts are complete without it, so a bundle that cannot be run at present does not end the replay.
        """
        recorded = self._sources.decode(found)
        if recorded.decision.decision == credit_pb2.DECISION_APPROVE:
            return None
        try:
            with refuse_unusable_bundle(recorded.body.bundle_id):
                model, policy = self._sources.open_model(recorded), self._sources.read_policy(recorded)
                # A finder keeps its models, and an auditor may replay decisions of every bundle that ever served.
                return find_approved_changes(RecourseFinder(), assess_again(recorded, model, policy, DEFAULT_LOCALE))
        except (ReplayUnavailable, BundleNotReadable):
            return None

    def _replay_mode(
        self, mode: ev.ReplayMode, decision_id: str, found: DecisionLookup, other: Model | None
    ) -> ev.ReplayResult:
        """Return the result of one mode."""
        if mode == ev.REPLAY_MODE_VERIFY:
            return verdict_result(mode, verify_stored_record(self._proofs, decision_id))
        try:
            recorded = self._sources.decode(found)
            if mode == ev.REPLAY_MODE_WHAT_IF:
                assert other is not None, "validation requires a bundle_id for WHAT_IF"
                return self._what_if(recorded, other)
            if mode == ev.REPLAY_MODE_FEATURES:
                return verdict_result(mode, self._compare_features(recorded))
            return verdict_result(mode, self._compare_decision(mode, recorded))
        except ReplayUnavailable as error:
            return error.result(mode)

    def _compare_features(self, recorded: RecordedDecision) -> ReplayVerdict:
        """Merge the inputs again from the recorded request and the feature store, and compare them with the record."""
        bundle = self._sources.open_model(recorded).bundle
        stored = pb.DecisionRecord(features=recorded.body.features)
        again = recorded_inputs(bundle, self._sources.read_inputs(recorded, bundle.schema))
        # Inputs are read, not computed, so a different runtime cannot explain a difference.
        return compare_fields(flat_fields("", stored), flat_fields("", again), same_runtime=True)

    def _compare_decision(self, mode: ev.ReplayMode, recorded: RecordedDecision) -> ReplayVerdict:
        """Assess the application again, and compare the fields that the mode SCORE or EXPLANATION covers."""
        model, policy = self._sources.open_model(recorded), self._sources.read_policy(recorded)
        try:
            assessment = assess_again(recorded, model, policy)
        except BundleInvalid as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)) from error
        except AdditivityError as error:
            return ReplayMismatch("numbers.residual", repr(recorded.body.numbers.residual), str(error), 1)
        record, decision = _record_and_answer(assessment)
        fields = _score_fields if mode == ev.REPLAY_MODE_SCORE else _explanation_fields
        return compare_fields(
            fields(recorded.body, recorded.decision),
            fields(record, decision),
            same_runtime=_is_same_runtime(recorded.body.runtime),
        )

    def _what_if(self, recorded: RecordedDecision, other: Model) -> ev.ReplayResult:
        """Assess the recorded application with a different bundle and the recorded policy.

        Raises:
            BundleNotReadable: The bundle cannot score the application.
        """
        bundle_id, policy = other.bundle.bundle_id, self._sources.read_policy(recorded)
        with refuse_unusable_bundle(bundle_id):
            message = assessment_message(assess_again(recorded, other, policy))
        what_if = ev.WhatIf(notice=WHAT_IF_NOTICE, bundle_id=bundle_id, assessment=message)
        names = [each.feature for each in recorded.body.features]
        unrecorded = features_without_record(other.bundle.schema, names, recorded.inputs())
        return ev.ReplayResult(mode=ev.REPLAY_MODE_WHAT_IF, what_if=what_if, left_out=missing_features_text(unrecorded))


def assess_again(recorded: RecordedDecision, model: Model, policy: Policy, locale: str = "") -> Assessment:
    """Assess the recorded application with a model and a policy, as of the time of the decision.

    Args:
        recorded: The decision.
        model: The model.
        policy: The policy.
        locale: The language of the reasons; "" for the recorded language. An earlier release may have chosen it by
            other rules, so it is not chosen again.

    Raises:
        ReplayUnavailable: The policy has no section for the decision.
    """
    application, at = recorded.application, recorded.at
    section = policy.section(application.market, application.product, at.date())
    if section is None:
        reason = "the policy has no section for the market, product and date of this decision"
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_POLICY_MISSING, reason)
    inputs = compatible_inputs(model.bundle.schema, recorded.inputs())
    question = application.question(section, inputs, at)
    return assess(model, policy, replace(question, locale=locale or recorded.decision.assessment.reasons.locale))


def sourced_value(message: pb.FedFeature) -> SourcedValue:
    """Return a recorded model input with its source."""
    as_of = time_from_timestamp(message.as_of_time) if message.HasField("as_of_time") else None
    is_stored = message.source == explain_pb2.VALUE_SOURCE_STORE
    return SourcedValue(feature_value(message.value), "STORE" if is_stored else "CALLER", as_of)


def _holds(result: ev.ReplayResult) -> bool:
    """Return whether the replay reproduced the record, so that a computation with the same artifacts speaks about it."""
    return result.WhichOneof("verdict") in {"match", "runtime_differs"}


def _record_and_answer(assessment: Assessment) -> tuple[pb.DecisionRecord, credit_pb2.CreditDecision]:
    """Return the fields of the record and of the answer that can be compared in a replay."""
    bundle = assessment.model.bundle
    record = recorded_inputs(bundle, assessment.inputs)
    record.bundle_id, record.baseline_sha256 = bundle.bundle_id, bundle.baseline_sha256
    record.feature_set_digest = bundle.schema.feature_set_digest
    record.policy_version, record.policy_sha256 = assessment.policy.document.version, assessment.policy.sha256
    if assessment.score is not None:
        record.numbers.CopyFrom(model_numbers(assessment.score))
    decision = credit_pb2.CreditDecision(
        decision=credit_pb2.Decision.Name(assessment.outcome),
        assessment=assessment_message(assessment),
        expire_time=timestamp(assessment.question.at + dt.timedelta(days=assessment.section.valid_days)),
    )
    return record, decision


def _score_fields(record: pb.DecisionRecord, decision: credit_pb2.CreditDecision) -> dict[str, Scalar]:
    """Return the fields that the mode SCORE compares."""
    compared = pb.DecisionRecord(
        features=record.features,
        bundle_id=record.bundle_id,
        feature_set_digest=record.feature_set_digest,
        policy_version=record.policy_version,
        policy_sha256=record.policy_sha256,
    )
    if record.HasField("numbers"):
        numbers = record.numbers
        compared.numbers.CopyFrom(pb.ModelNumbers(margin=numbers.margin, log_odds=numbers.log_odds, pd=numbers.pd))
    return flat_fields("", compared) | flat_fields("answer", _without(decision, _EXPLANATION_FIELDS))


def _explanation_fields(record: pb.DecisionRecord, decision: credit_pb2.CreditDecision) -> dict[str, Scalar]:
    """Return the fields that the mode EXPLANATION compares."""
    compared = pb.DecisionRecord(baseline_sha256=record.baseline_sha256)
    if record.HasField("numbers"):
        numbers = record.numbers
        compared.numbers.CopyFrom(
            pb.ModelNumbers(
                base_value=numbers.base_value, contributions=numbers.contributions, residual=numbers.residual
            )
        )
    answer = _without(decision, _SCORE_FIELDS)
    answer.ClearField("decision")
    answer.ClearField("expire_time")
    return flat_fields("", compared) | flat_fields("answer", answer)


def _without(decision: credit_pb2.CreditDecision, fields: tuple[str, ...]) -> credit_pb2.CreditDecision:
    """Return a copy of an answer without _COPIED_FIELDS, and without the given fields of its assessment."""
    copy = credit_pb2.CreditDecision()
    copy.CopyFrom(decision)
    for name in _COPIED_FIELDS:
        copy.ClearField(name)
    for name in fields:
        copy.assessment.ClearField(name)
    return copy


def _is_same_runtime(recorded: pb.Runtime) -> bool:
    """Return true if ONNX Runtime, Python and platform are the same in this process as in the record.

    The release of Grounds is not compared, because a different release must compute the same answer.
    """
    now = runtime_message()
    return (recorded.onnxruntime, recorded.python, recorded.platform) == (now.onnxruntime, now.python, now.platform)
