"""Builds the log record of a credit decision from its request, model inputs, model output, policy and answer."""

import datetime as dt
import importlib.metadata
import platform
from dataclasses import dataclass
from functools import cache

from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds_record.activations import ACTIVATION_LABEL, POLICY_ACTIVATION_LABEL
from models.explained_score import ExplainedScore
from server.decisions.assessment import Assessment
from server.edges.credit.templates import recorded_inputs
from server.edges.explanations import timestamp
from server.edges.received_request import ReceivedRequest
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import LogEntry

_DECISION_PREFIX = "DECISION_"


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """A decision with all data from which its record is built.

    Attributes:
        received: The request and its caller.
        received_at: The time at which the request arrived.
        content: SHA-256 of the decoded request without its request_id.
        assessment: The assessment of the application.
        decision: The answer to the caller.
        encoded: The encoded `decision`. The record and the answer contain these same bytes.
        activation_id: The id of the recorded activation under which the bundle serves the market.
    """

    received: ReceivedRequest
    received_at: dt.datetime
    content: bytes
    assessment: Assessment
    decision: credit_pb2.CreditDecision
    encoded: bytes
    activation_id: str


def decision_entry(answer: RecordedAnswer) -> LogEntry:
    """Build the log entry of a decision. The record's header contains the labels unencrypted, for lists and samples."""
    assessment, reference, customer = answer.assessment, answer.decision.record_ref, answer.decision.customer
    score = assessment.score
    labels = {
        "market": customer.market,
        "product": assessment.section.product,
        "bundle": assessment.model.bundle.bundle_id,
        "decision": assessment.outcome.name,
        "policy": assessment.policy.sha256,
        ACTIVATION_LABEL: answer.activation_id,
        POLICY_ACTIVATION_LABEL: assessment.policy.activation_id,
    }
    if score is not None:
        labels["grade"] = score.grade
    return LogEntry(
        kind=CREDIT_DECISION,
        record_id=reference.decision_id,
        time=assessment.question.at,
        caller=answer.received.caller.name,
        body=_record_message(answer).SerializeToString(deterministic=True),
        customer=(customer.market, customer.customer_id),
        request_id=reference.request_id.lower(),
        content=answer.content,
        labels=labels,
    )


def _record_message(answer: RecordedAnswer) -> pb.DecisionRecord:
    """Build the body of the record."""
    assessment, score = answer.assessment, answer.assessment.score
    bundle, policy = assessment.model.bundle, assessment.policy
    record = recorded_inputs(bundle, assessment.inputs)
    record.request, record.answer = answer.received.content, answer.encoded
    record.bundle_id = bundle.bundle_id
    record.feature_set_digest, record.baseline_sha256 = bundle.schema.feature_set_digest, bundle.baseline_sha256
    record.policy_version, record.policy_sha256 = policy.document.version, policy.sha256
    record.activation_id, record.policy_activation_id = answer.activation_id, policy.activation_id
    record.runtime.CopyFrom(runtime_message())
    if score is not None:
        record.numbers.CopyFrom(model_numbers(score))
    record.caller = answer.received.caller.name
    record.receive_time.CopyFrom(timestamp(answer.received_at))
    record.decide_time.CopyFrom(timestamp(assessment.question.at))
    return record


def model_numbers(score: ExplainedScore) -> pb.ModelNumbers:
    """Build the message of the model's output, unrounded."""
    return pb.ModelNumbers(
        margin=score.margin,
        log_odds=score.log_odds,
        pd=score.pd,
        base_value=score.base_value,
        contributions=score.contributions,
        residual=score.residual,
    )


@cache
def runtime_message() -> pb.Runtime:
    """Build the message of the runtime: the versions of Grounds, ONNX Runtime and Python, and the platform."""
    return pb.Runtime(
        grounds=importlib.metadata.version("grounds"),
        onnxruntime=importlib.metadata.version("onnxruntime"),
        python=platform.python_version(),
        platform=platform.platform(),
    )


def answer_from_record(body: bytes) -> bytes:
    """Return the bytes of the recorded answer from the body of a decision's record."""
    return pb.DecisionRecord.FromString(body).answer


def decision_from_record(body: bytes) -> credit_pb2.CreditDecision:
    """Return the recorded answer from the body of a decision's record."""
    return credit_pb2.CreditDecision.FromString(answer_from_record(body))


def decision_of_label(name: str) -> credit_pb2.Decision:
    """Return the decision that a record's header names; DECISION_UNSPECIFIED if this release does not know the name."""
    value = f"{_DECISION_PREFIX}{name}"
    known = value in credit_pb2.Decision.keys()  # noqa: SIM118 - an enum, not a mapping
    return credit_pb2.Decision.Value(value) if known else credit_pb2.DECISION_UNSPECIFIED  # type: ignore[return-value]


def label_of_decision(decision: credit_pb2.Decision) -> str:
    """Return the name by which a record's header names a decision."""
    return credit_pb2.Decision.Name(decision).removeprefix(_DECISION_PREFIX)
