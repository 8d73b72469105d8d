"""Reads credit applications from requests, and builds the messages of assessments."""

from typing import cast

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1 import explain_pb2
from server.decisions.assessment import Assessment
from server.decisions.inputs import CreditApplication
from server.decisions.policy import STANDARD, PolicyOutcome
from server.edges.credit.templates import fill_explanation
from server.edges.explanations import feature_values
from server.edges.money import amount_from_money, money_from_amount

_UNSEEN_LEVEL = "UNSEEN_LEVEL"
_LENGTH_DELIMITED = 2  # wire type of a message
_DECISION = 1  # field number of ScoreCreditResponse
_REASON_TYPES = {
    "MODEL": explain_pb2.REASON_TYPE_MODEL,
    "POLICY": explain_pb2.REASON_TYPE_POLICY,
    "INPUT": explain_pb2.REASON_TYPE_INPUT,
}


def application_from_request(request: pb.ScoreCreditRequest | pb.SimulateCreditRequest) -> CreditApplication:
    """Return the credit application in a request. The request may be new or may come from a record."""
    return CreditApplication(
        market=request.customer.market,
        product=request.product or STANDARD,
        amount=amount_from_money(request.requested_amount),
        currency=request.requested_amount.currency_code,
        features=feature_values(request.features),
        facts=feature_values(request.facts),
        locale=request.locale,
    )


def assessment_message(assessment: Assessment) -> pb.CreditAssessment:
    """Build the message of an assessment."""
    message = pb.CreditAssessment()
    fill_assessment(message, assessment)
    return message


def fill_assessment(message: pb.CreditAssessment, assessment: Assessment) -> None:
    """Fill an empty message with an assessment.

    The message may be a field of a larger message, because filling it in place is faster than copying it. Model output,
    explanation and recommendation are unset if the outcome is NOT_SCORABLE.
    """
    score, section = assessment.score, assessment.section
    _fill_policy_result(message.policy_result, assessment)
    for name in assessment.unseen_features:
        message.warnings.add(code=_UNSEEN_LEVEL, feature=name)
    message.reasons.locale = assessment.locale
    for reason in assessment.reasons:
        message.reasons.reasons.add(
            code=reason.code,
            type=_REASON_TYPES[reason.kind],
            text=reason.text,
            log_odds=reason.log_odds,
            points=reason.points,
            features=reason.features,
        )
    if score is None or assessment.recommendation is None:
        return
    output, recommendation = message.model_output, message.recommendation
    output.bundle_id = assessment.model.bundle.bundle_id
    output.log_odds, output.pd, output.score, output.grade = score.log_odds, score.pd, score.score, score.grade
    fill_explanation(message.explanation, assessment.model.bundle, score, assessment.inputs)
    recommendation.decision = decision_message(assessment.recommendation)
    recommendation.approve_max_pd, recommendation.refer_max_pd = section.approve_max_pd, section.refer_max_pd


def score_response(decision: bytes) -> bytes:
    """Return an encoded ScoreCreditResponse, whose only field is the encoded decision."""
    return encode_field(_DECISION, decision)


def encode_field(number: int, message: bytes) -> bytes:
    """Return an encoded field of a message, whose value is a message that is already encoded.

    Args:
        number: The field number, at most 15.
        message: The encoded value.
    """
    return field_start(number, len(message)) + message


def field_start(number: int, size: int) -> bytes:
    """Return the bytes of an encoded field before its value, which is an encoded message.

    Args:
        number: The field number, at most 15.
        size: The number of bytes of the value.
    """
    length = bytearray()
    while size > 0x7F:  # noqa: PLR2004 - a varint: 7 bits per byte, lowest first; the eighth bit continues it
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + length


def decision_message(outcome: PolicyOutcome) -> pb.Decision:
    """Return an outcome as the enum of the .proto files, which has the same numbers."""
    return cast("pb.Decision", int(outcome))


def _fill_policy_result(message: pb.PolicyResult, assessment: Assessment) -> None:
    """Fill the message of the policy's result."""
    section, grant = assessment.section, assessment.grant
    message.policy_version, message.policy_sha256 = assessment.policy.document.version, assessment.policy.sha256
    message.decision = decision_message(assessment.outcome)
    message.product, message.effective_from = section.product, section.effective_from.isoformat()
    for rule in assessment.rules:
        message.rules.add(
            code=rule.code, passed=rule.is_passed, best_decision=None if rule.is_passed else decision_message(rule.best)
        )
    if grant is not None:
        message.approvable_amount.CopyFrom(money_from_amount(grant.approvable, section.currency))
        message.expected_loss.CopyFrom(money_from_amount(grant.expected_loss, section.currency))
        message.lgd = float(section.lgd)
