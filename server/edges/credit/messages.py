"""Reads credit applications from requests, and builds the messages of assessments."""

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1 import explain_pb2
from server.decisions.assessment import Assessment, DecisionReason
from server.decisions.inputs import CreditApplication
from server.decisions.policy import STANDARD
from server.decisions.policy_rules import RuleResult
from server.edges.explanations import (
    ContributionFacts,
    baseline_message,
    contribution_message,
    explanation_message,
    feature_values,
)
from server.edges.money import amount_from_money, money_from_amount

_UNSEEN_LEVEL = "UNSEEN_LEVEL"
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
    """Build the message of an assessment.

    Model output, explanation and recommendation are unset if the outcome is NOT_SCORABLE.
    """
    message = pb.CreditAssessment(
        policy_result=_policy_message(assessment),
        warnings=[explain_pb2.Warning(code=_UNSEEN_LEVEL, feature=name) for name in assessment.unseen_features],
        reasons=explain_pb2.Reasons(locale=assessment.locale, reasons=map(_reason_message, assessment.reasons)),
    )
    score = assessment.score
    if score is None or assessment.recommendation is None:
        return message
    message.model_output.CopyFrom(
        pb.ModelOutput(
            bundle_id=assessment.model.bundle.bundle_id,
            log_odds=score.log_odds,
            pd=score.pd,
            score=score.score,
            grade=score.grade,
        )
    )
    message.explanation.CopyFrom(_assessment_explanation(assessment))
    message.recommendation.CopyFrom(
        pb.Recommendation(
            decision=pb.Decision.Name(assessment.recommendation),
            approve_max_pd=assessment.section.approve_max_pd,
            refer_max_pd=assessment.section.refer_max_pd,
        )
    )
    return message


def _assessment_explanation(assessment: Assessment) -> explain_pb2.Explanation:
    """Build the explanation, with one contribution per feature.

    Base value, contributions and residual add up to the log-odds. Base points and points add up to the score.
    """
    bundle, score = assessment.model.bundle, assessment.score
    assert score is not None
    contributions = []
    for feature, log_odds, points in zip(bundle.schema.features, score.contributions, score.points, strict=True):
        given = assessment.inputs.get(feature.name)
        facts = ContributionFacts(
            feature=feature.name,
            group=feature.group,
            value=None if given is None else given.value,
            source=None if given is None else given.source,
            as_of=None if given is None else given.as_of,
            log_odds=log_odds,
            points=points,
        )
        contributions.append(contribution_message(facts))
    return explanation_message(
        method=bundle.baseline.method,
        baseline=baseline_message(bundle.baseline_sha256, bundle.baseline.row_count, bundle.baseline.definition),
        base_value=score.base_value,
        residual=score.residual,
        contributions=contributions,
        base_points=score.base_points,
    )


def _policy_message(assessment: Assessment) -> pb.PolicyResult:
    """Build the message of the policy's result."""
    section, grant = assessment.section, assessment.grant
    message = pb.PolicyResult(
        policy_version=assessment.policy.document.version,
        policy_sha256=assessment.policy.sha256,
        decision=pb.Decision.Name(assessment.outcome),
        rules=map(_rule_message, assessment.rules),
        product=section.product,
        effective_from=section.effective_from.isoformat(),
    )
    if grant is not None:
        message.approvable_amount.CopyFrom(money_from_amount(grant.approvable, section.currency))
        message.expected_loss.CopyFrom(money_from_amount(grant.expected_loss, section.currency))
        message.lgd = float(section.lgd)
    return message


def _rule_message(rule: RuleResult) -> pb.PolicyRule:
    """Build the message of a rule's result."""
    message = pb.PolicyRule(code=rule.code, passed=rule.passed)
    if not rule.passed:
        message.best_decision = pb.Decision.Name(rule.best)  # type: ignore[assignment]
    return message


def _reason_message(reason: DecisionReason) -> explain_pb2.Reason:
    """Build the message of a reason."""
    return explain_pb2.Reason(
        code=reason.code,
        type=_REASON_TYPES[reason.kind],
        text=reason.text,
        log_odds=reason.log_odds,
        points=reason.points,
        features=reason.features,
    )
