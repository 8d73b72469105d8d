"""Texts for parts of the server's messages, shared by the terminal and the evidence page."""

import re

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from grounds.audit.v1 import activation_pb2, bodies_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds_client.money import Amount

BUNDLE_ID_SHOWN = 12  # digits of a bundle_id in lists; commands accept any unambiguous prefix of 8 or more
_TWO_DECIMALS_FROM = 1000
_OVERRIDE_SIDES = {
    credit_pb2.OVERRIDE_SIDE_HIGH: "less than the policy",
    credit_pb2.OVERRIDE_SIDE_LOW: "more than the policy",
    credit_pb2.OVERRIDE_SIDE_REFERRAL: "a case that the policy referred",
    credit_pb2.OVERRIDE_SIDE_WITHDRAWAL: "back to the policy",
}


def enum_name(enum: EnumTypeWrapper, number: int) -> str:
    """Return the name of an enum value without the name of its type: DECISION_APPROVE becomes APPROVE."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper()
    return str(enum.Name(number)).removeprefix(f"{prefix}_")


def decision_name(decision: credit_pb2.Decision) -> str:
    """Return a decision as text, such as APPROVE_REDUCED."""
    return enum_name(credit_pb2.Decision, decision)


def band_name(band: churn_pb2.RiskBand) -> str:
    """Return a risk band as text, such as HIGH."""
    return enum_name(churn_pb2.RiskBand, band)


def value_text(value: FeatureValue, unit: str = "") -> str:
    """Return a feature's value as text; an empty message is a missing value."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return "missing"
    if kind == "level":
        return value.level
    return number_text(value.number) + (f" {unit}" if unit else "")


def number_text(number: float) -> str:
    """Return a number as text: six significant digits below 1,000, otherwise two decimals, as amounts need."""
    return f"{number:,.6g}" if abs(number) < _TWO_DECIMALS_FROM else f"{number:,.2f}".removesuffix(".00")


def money_text(money: Money) -> str:
    """Return an amount as text, such as 60,000.00 EUR."""
    return str(Amount.from_money(money))


def time_text(time: Timestamp) -> str:
    """Return a time in UTC as text, to the second."""
    return f"{time.ToDatetime():%Y-%m-%d %H:%M:%S}"


def score_text(assessment: credit_pb2.CreditAssessment) -> str:
    """Return score, probability of default and grade as text."""
    output = assessment.model_output
    if not assessment.HasField("model_output"):
        return "no score"
    return f"{output.score} points, probability of default {output.pd:.2%}, grade {output.grade}"


def contact_text(risk: churn_pb2.ChurnRisk) -> str:
    """Return a text that states whether a campaign may contact the customer and, if it may not, the reasons."""
    reasons = [*(["held out"] if risk.hold_out else []), *risk.suppressions]
    return "may be contacted" if risk.action_allowed else f"no action{': ' + ', '.join(reasons) if reasons else ''}"


def change_text(activation: activation_pb2.Activation) -> str:
    """Return the kind of a change of bundles or policies as text, such as PROPOSAL of ACTIVATION."""
    kind = enum_name(bodies_pb2.ChangeKind, activation.change)
    if activation.change != bodies_pb2.CHANGE_KIND_PROPOSAL:
        return kind
    return f"{kind} of {enum_name(bodies_pb2.ChangeKind, activation.proposed_change)}"


def author_text(author: bodies_pb2.ChangeAuthor) -> str:
    """Return who made a change of bundles or policies, and who approved it."""
    found = "server" if author.source == bodies_pb2.CHANGE_SOURCE_SERVER else "not recorded"
    return (author.operator or found) + (f", approved by {author.approver}" if author.approver else "")


def override_text(override: credit_pb2.Override) -> str:
    """Return an override as one line."""
    second = f" and {override.second_user_id}" if override.second_user_id else ""
    comment = f' "{override.comment}"' if override.comment else ""
    return (
        f"override {override.override_id}, {time_text(override.override_time)} UTC: {decision_name(override.decision)} "
        f"{money_text(override.granted_amount)} ({_OVERRIDE_SIDES.get(override.side, 'unknown side')}) by {override.user_id}"
        f"{second}, {override.user_role}: {override.reason_text}{comment}"
    )


def outcome_text(outcome: credit_pb2.Outcome) -> str:
    """Return an outcome as one line."""
    event = {
        "booked": f"booked {money_text(outcome.booked.amount)}",
        "days_past_due": f"{outcome.days_past_due.days} days past due",
        "default": f"default, {outcome.default.trigger_code}",
        "cure": "cured",
    }.get(str(outcome.WhichOneof("event")), "an event that this version of the client does not know")
    day = outcome.event_date
    corrects = f", corrects {outcome.corrects_outcome_id}" if outcome.corrects_outcome_id else ""
    return f"outcome {outcome.outcome_id}, {day.year:04d}-{day.month:02d}-{day.day:02d}: {event}{corrects}"
