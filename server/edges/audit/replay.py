"""Replays: a recorded question put again to the bundle and the policy that answered it, and the answers compared."""

import datetime as dt

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2 as ev
from grounds.credit.v1 import credit_pb2
from models.errors import AdditivityError
from models.model import Model
from server.decisions.assessment import Assessment, assess
from server.decisions.policy import Policy
from server.decisions.replay_verdict import ReplayMismatch, ReplayVerdict, compare_fields
from server.edges.audit.lookup import DecisionLookup, find_decision
from server.edges.audit.message_fields import flat_fields
from server.edges.audit.past import ReplaySources, ReplayUnavailable
from server.edges.audit.proofs import verified
from server.edges.audit.question import RecordedDecision, fitting
from server.edges.audit.readings import Reading, ReadingRecorder
from server.edges.audit.verdicts import unavailable, verdict_result
from server.edges.credit.assessments import assessment_message
from server.edges.credit.decision_records import fed_feature_messages, model_numbers, runtime_message
from server.edges.explanations import timestamp
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader

STANDARD_MODES = (ev.REPLAY_MODE_VERIFY, ev.REPLAY_MODE_FEATURES, ev.REPLAY_MODE_SCORE, ev.REPLAY_MODE_EXPLANATION)
NOTICE = "NOT EVIDENCE: no decision was made with this bundle; it says only what would have come out."
OF_BOTH = ("record_ref", "customer", "requested_amount")  # as asked, not computed
OF_SCORE = ("model_output", "recommendation", "policy_result")
OF_EXPLANATION = ("explanation", "reasons", "warnings")


class DecisionReplayer:
    """Replays decisions, and has it recorded that they were read."""

    def __init__(
        self, readings: ReadingRecorder, log: RecordLog, proofs: ProofReader, past: ReplaySources, threads: StoreThreads
    ) -> None:
        self.readings, self.log, self.proofs, self.past, self.threads = readings, log, proofs, past, threads

    async def give(self, request: ev.ReplayDecisionRequest) -> pb.ReplayDecisionResponse:
        """Give the verdicts, once the reading is durable."""
        decision_id = request.decision_id.lower()
        modes = tuple(request.modes) or STANDARD_MODES
        found = await self.threads.run(find_decision, self.log.reader, decision_id)
        other = await self.threads.run(self.past.shelf.open_model, request.bundle_id) if request.bundle_id else None
        reading = await self.readings.record(
            Reading(decision_id, "ReplayDecision", request.purpose, modes, request.bundle_id)
        )
        answer = pb.ReplayDecisionResponse(decision_id=decision_id, replay_runtime=runtime_message(), reading=reading)
        if found.body is not None:
            answer.recorded_runtime.CopyFrom(found.body.runtime)
        for mode in modes:
            answer.results.append(await self.threads.run(self.result, mode, decision_id, found, other))
        return answer

    def result(
        self, mode: ev.ReplayMode, decision_id: str, found: DecisionLookup, other: Model | None
    ) -> ev.ReplayResult:
        """Replay in one mode."""
        if mode == ev.REPLAY_MODE_VERIFY:
            return verdict_result(mode, verified(self.proofs, decision_id))
        try:
            past = self.past.decision(found)
            if mode == ev.REPLAY_MODE_WHAT_IF:
                assert other is not None, "the contract demands a bundle_id"
                return self.what_if(past, other)
            if mode == ev.REPLAY_MODE_FEATURES:
                return verdict_result(mode, self.features(past))
            return verdict_result(mode, self.recomputed(mode, past))
        except ReplayUnavailable as error:
            return unavailable(mode, error.why, str(error))

    def features(self, past: RecordedDecision) -> ReplayVerdict:
        """Compare the features as fed with the request and the feature store."""
        schema = self.past.model(past).bundle.schema
        fed = pb.DecisionRecord(features=fed_feature_messages(schema, self.past.inputs_then(past, schema)))
        stored = pb.DecisionRecord(features=past.body.features)
        # Nothing is computed here that a runtime could change.
        return compare_fields(flat_fields("", stored), flat_fields("", fed), same_runtime=True)

    def recomputed(self, mode: ev.ReplayMode, past: RecordedDecision) -> ReplayVerdict:
        """Compute the decision again, and compare the mode's part of it."""
        model, policy = self.past.model(past), self.past.policy(past)
        try:
            assessment = self.assessed(past, model, policy)
        except AdditivityError as error:
            return ReplayMismatch("numbers.residual", repr(past.body.numbers.residual), str(error), 1)
        record, decision = answered(assessment)
        side = score_side if mode == ev.REPLAY_MODE_SCORE else explanation_side
        return compare_fields(
            side(past.body, past.decision),
            side(record, decision),
            same_runtime=same_runtime(past.body.runtime),
        )

    def assessed(self, past: RecordedDecision, model: Model, policy: Policy) -> Assessment:
        """Put the recorded question to a model and a policy."""
        section = past.section(policy)
        if section is None:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_POLICY_MISSING, "the policy has no section for this decision")
        return assess(model, policy, past.question(section, fitting(model.bundle.schema, past.inputs())))

    def what_if(self, past: RecordedDecision, other: Model) -> ev.ReplayResult:
        """Put the recorded question to another bundle."""
        assessment = assessment_message(self.assessed(past, other, self.past.policy(past)))
        return ev.ReplayResult(
            mode=ev.REPLAY_MODE_WHAT_IF,
            what_if=ev.WhatIf(notice=NOTICE, bundle_id=other.bundle.bundle_id, assessment=assessment),
        )


def answered(assessment: Assessment) -> tuple[pb.DecisionRecord, credit_pb2.CreditDecision]:
    """Write what would be recorded and answered, but for names and times of its own."""
    bundle = assessment.model.bundle
    record = pb.DecisionRecord(
        features=fed_feature_messages(bundle.schema, assessment.inputs),
        bundle_id=bundle.bundle_id,
        feature_set_digest=bundle.schema.feature_set_digest,
        baseline_sha256=bundle.baseline_sha256,
        policy_version=assessment.policy.document.version,
        policy_sha256=assessment.policy.sha256,
        numbers=model_numbers(assessment),
    )
    decision = credit_pb2.CreditDecision(
        decision=credit_pb2.Decision.Name(assessment.outcome),
        assessment=assessment_message(assessment),
        expire_time=timestamp(assessment.question.at + dt.timedelta(days=assessment.section.valid_days)),
    )
    return record, decision


def score_side(record: pb.DecisionRecord, decision: credit_pb2.CreditDecision) -> dict[str, float | int | str | bool]:
    """Give what SCORE compares."""
    kept = pb.DecisionRecord(
        features=record.features,
        bundle_id=record.bundle_id,
        feature_set_digest=record.feature_set_digest,
        policy_version=record.policy_version,
        policy_sha256=record.policy_sha256,
    )
    if record.HasField("numbers"):
        of = record.numbers
        kept.numbers.CopyFrom(pb.ModelNumbers(margin=of.margin, log_odds=of.log_odds, pd=of.pd))
    return flat_fields("", kept) | flat_fields("answer", without(decision, OF_EXPLANATION))


def explanation_side(
    record: pb.DecisionRecord, decision: credit_pb2.CreditDecision
) -> dict[str, float | int | str | bool]:
    """Give what EXPLANATION compares."""
    kept = pb.DecisionRecord(baseline_sha256=record.baseline_sha256)
    if record.HasField("numbers"):
        of = record.numbers
        kept.numbers.CopyFrom(
            pb.ModelNumbers(base_value=of.base_value, contributions=of.contributions, residual=of.residual)
        )
    told = without(decision, OF_SCORE)
    told.ClearField("decision")
    told.ClearField("expire_time")
    return flat_fields("", kept) | flat_fields("answer", told)


def without(decision: credit_pb2.CreditDecision, parts: tuple[str, ...]) -> credit_pb2.CreditDecision:
    """Copy an answer without some parts of its assessment, and without what was only repeated from the question."""
    copy = credit_pb2.CreditDecision()
    copy.CopyFrom(decision)
    for name in OF_BOTH:
        copy.ClearField(name)
    for name in parts:
        copy.assessment.ClearField(name)
    return copy


def same_runtime(then: pb.Runtime) -> bool:
    """Tell whether what computes here is what computed then; our own release is no excuse."""
    now = runtime_message()
    return (then.onnxruntime, then.python, then.platform) == (now.onnxruntime, now.python, now.platform)
