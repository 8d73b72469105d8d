"""Builds the log record of a credit decision from its request, model inputs, model output, policy and answer."""

import datetime as dt
import importlib.metadata
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from models.schema import Schema
from server.decisions.assessment import Assessment, SourcedValue
from server.edges.explanations import VALUE_SOURCES, timestamp
from server.edges.received_request import ReceivedRequest
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import LogEntry


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """A decision with all data from which its record is built.

    Attributes:
        received: The request and its caller.
        received_at: The time at which the request arrived.
        content: SHA-256 of the decoded request without its request_id.
        assessment: The assessment of the application.
        decision: The answer to the caller.
    """

    received: ReceivedRequest
    received_at: dt.datetime
    content: bytes
    assessment: Assessment
    decision: credit_pb2.CreditDecision


def decision_entry(answer: RecordedAnswer) -> LogEntry:
    """Build the log entry of a decision. The record's header contains the labels unencrypted, for lists and samples."""
    assessment, decision = answer.assessment, answer.decision
    score, customer = assessment.score, decision.customer
    labels = {
        "market": customer.market,
        "product": assessment.section.product,
        "bundle": assessment.model.bundle.bundle_id,
        "decision": assessment.outcome.name,
        "policy": assessment.policy.sha256,
    }
    if score is not None:
        labels["grade"] = score.grade
    return LogEntry(
        kind=CREDIT_DECISION,
        record_id=decision.record_ref.decision_id,
        time=assessment.question.at,
        caller=answer.received.caller.name,
        body=_record_message(answer).SerializeToString(deterministic=True),
        customer=(customer.market, customer.customer_id),
        request_id=decision.record_ref.request_id.lower(),
        content=answer.content,
        labels=labels,
    )


def _record_message(answer: RecordedAnswer) -> pb.DecisionRecord:
    """Build the body of the record."""
    assessment = answer.assessment
    bundle, policy = assessment.model.bundle, assessment.policy
    return pb.DecisionRecord(
        request=answer.received.content,
        answer=answer.decision.SerializeToString(deterministic=True),
        features=model_input_messages(bundle.schema, assessment.inputs),
        bundle_id=bundle.bundle_id,
        feature_set_digest=bundle.schema.feature_set_digest,
        baseline_sha256=bundle.baseline_sha256,
        policy_version=policy.document.version,
        policy_sha256=policy.sha256,
        runtime=runtime_message(),
        numbers=model_numbers(assessment),
        caller=answer.received.caller.name,
        receive_time=timestamp(answer.received_at),
        decide_time=timestamp(assessment.question.at),
    )


def model_input_messages(schema: Schema, inputs: Mapping[str, SourcedValue]) -> list[pb.FedFeature]:
    """Build one message per feature of the model, with the value if known, and the input number (NaN if unknown)."""
    messages = []
    # Build one timestamp per distinct time, because building a timestamp is slow and nearly all times are equal.
    times = {given.as_of for given in inputs.values() if given.as_of is not None}
    stamps = {time: timestamp(time) for time in times}
    for feature in schema.features:
        given = inputs.get(feature.name)
        if given is None:
            messages.append(pb.FedFeature(feature=feature.name, number=math.nan))
            continue
        message = pb.FedFeature(
            feature=feature.name,
            number=schema.encode_value(feature.name, given.value),
            source=VALUE_SOURCES[given.source],
        )
        if isinstance(given.value, str):
            message.value.level = given.value
        else:
            message.value.number = given.value
        if given.as_of is not None:
            message.as_of_time.CopyFrom(stamps[given.as_of])
        messages.append(message)
    return messages


def model_numbers(assessment: Assessment) -> pb.ModelNumbers | None:
    """Build the message of the model's output, unrounded; None if the customer is not scorable."""
    score = assessment.score
    if score is None:
        return None
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


def decision_from_record(body: bytes) -> credit_pb2.CreditDecision:
    """Return the recorded answer from the body of a decision's record."""
    return credit_pb2.CreditDecision.FromString(pb.DecisionRecord.FromString(body).answer)
