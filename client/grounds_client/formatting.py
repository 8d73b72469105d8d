"""Texts for parts of the server's messages, shared by the terminal, the evidence page and the console."""

import datetime as dt
import re
from collections.abc import Iterator

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from grounds.audit.v1 import activation_pb2, bodies_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds_client.money import Amount

BUNDLE_ID_SHOWN = 12  # digits of a bundle_id in lists; commands accept any unambiguous prefix of 8 or more
_TWO_DECIMALS_FROM = 1000
# Units are free text of the spec, so only these words are known to be plurals. Other units, such as EUR, are kept.
_SINGULARS = {
    "baskets": "basket",
    "categories": "category",
    "customers": "customer",
    "days": "day",
    "hours": "hour",
    "invoices": "invoice",
    "items": "item",
    "lines": "line",
    "months": "month",
    "orders": "order",
    "products": "product",
    "purchases": "purchase",
    "weeks": "week",
    "years": "year",
}
_SINGULAR_UNIT = re.compile(rf"^(?:{'|'.join(_SINGULARS)})\b")
_OVERRIDE_SIDES = {
    credit_pb2.OVERRIDE_SIDE_HIGH: "less than the policy",
    credit_pb2.OVERRIDE_SIDE_LOW: "more than the policy",
    credit_pb2.OVERRIDE_SIDE_REFERRAL: "a case that the policy referred",
    credit_pb2.OVERRIDE_SIDE_WITHDRAWAL: "back to the policy",
}
_BEST_FIRST = (
    credit_pb2.DECISION_APPROVE,
    credit_pb2.DECISION_APPROVE_REDUCED,
    credit_pb2.DECISION_REFER,
    credit_pb2.DECISION_DECLINE,
)
_RECOURSE_TEXTS = {
    credit_pb2.RECOURSE_STATUS_FOUND: "each was scored; not a promise, because the policy or a later model may decide otherwise",
    credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND: "none found among the features that a customer can change",
    credit_pb2.RECOURSE_STATUS_NOT_NEEDED: "the customer is already there",
    credit_pb2.RECOURSE_STATUS_NOT_SCORABLE: "too little is known to score",
}


def enum_name(enum: EnumTypeWrapper, number: int) -> str:
    """Return the name of an enum value without the name of its type: DECISION_APPROVE becomes APPROVE.

    This version has no name for a value that a newer server added. Such a value becomes UNKNOWN_ and its number.
    """
    if number not in enum.values():
        return f"UNKNOWN_{number}"
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
    number = number_text(value.number)
    if number.removeprefix("-") == "1":
        unit = _SINGULAR_UNIT.sub(lambda found: _SINGULARS[found[0]], unit, count=1)
    return f"{number} {unit}" if unit else number


def number_text(number: float) -> str:
    """Return a number as text: six significant digits below 1,000, otherwise two decimals, as amounts need."""
    return f"{number:,.6g}" if abs(number) < _TWO_DECIMALS_FROM else f"{number:,.2f}".removesuffix(".00")


def money_text(money: Money) -> str:
    """Return an amount as text, such as 60,000.00 EUR."""
    return str(Amount.from_money(money))


def time_text(time: Timestamp) -> str:
    """Return a time in UTC as text, to the second."""
    return f"{time.ToDatetime():%Y-%m-%d %H:%M:%S}"


def probability_text(probability: float) -> str:
    """Return a probability as a percentage with two decimals, such as 12.34%."""
    return f"{probability:.2%}"


def validity_text(as_of: Timestamp, valid_until: Timestamp, now: dt.datetime) -> str:
    """Return as of when a prediction was made, and until when it may be used, or that it has expired.

    Args:
        as_of: The as-of time of the prediction.
        valid_until: When the prediction expires.
        now: The present time, with a zone.
    """
    end = f"{time_text(valid_until)} UTC"
    until = (
        f"expired at {end}: do not act on it, ask for a newer run"
        if is_expired(valid_until, now)
        else f"valid until {end}"
    )
    return f"As of {time_text(as_of)} UTC, {until}."


def is_expired(valid_until: Timestamp, now: dt.datetime) -> bool:
    """Return whether a prediction has expired."""
    return valid_until.ToDatetime(dt.UTC) < now


def score_text(assessment: credit_pb2.CreditAssessment) -> str:
    """Return score, probability of default and grade as text."""
    output = assessment.model_output
    if not assessment.HasField("model_output"):
        return "no score"
    return f"{output.score} points, probability of default {probability_text(output.pd)}, grade {output.grade}"


def cut_offs_text(recommendation: credit_pb2.Recommendation) -> str:
    """Return the probabilities of default up to which the policy approves and refers."""
    approve, refer = (percent_text(share) for share in (recommendation.approve_max_pd, recommendation.refer_max_pd))
    return f"approve up to {approve}, refer up to {refer}"


def approvable_text(result: credit_pb2.PolicyResult) -> str:
    """Return the amount that can be approved without a person, and the expected loss of the requested amount."""
    return (
        f"approvable without a person: {money_text(result.approvable_amount)}; "
        f"expected loss of the requested amount: {money_text(result.expected_loss)}"
    )


_INPUT_CONDITIONS = {
    credit_pb2.INPUT_CONDITION_UNSEEN_LEVEL: "has a level that did not occur in training",
    credit_pb2.INPUT_CONDITION_OUTSIDE_RANGE: "is outside the range of training",
    credit_pb2.INPUT_CONDITION_OLDER_THAN: "is older than {days} days",
}


def recourse_text(recourse: credit_pb2.Recourse) -> str:
    """Return what the search for changes that lead to the approve cut-off found."""
    found = _RECOURSE_TEXTS.get(recourse.status, "a result that this version of the client does not know")
    return f"Ways to the approve cut-off: {found}"


def counterfactual_text(counterfactual: credit_pb2.Counterfactual) -> str:
    """Return the changes of one counterfactual, and its score and probability of default."""
    changes = "; ".join(
        f"{change.feature} from {value_text(change.current)} to {value_text(change.proposed)}"
        for change in counterfactual.changes
    )
    return f"{changes}: {counterfactual.score} points, {probability_text(counterfactual.pd)}"


def changes_text(counterfactual: credit_pb2.Counterfactual) -> str:
    """Return the changes of one counterfactual in the words of the server, and its score and probability of default."""
    changes = "; ".join(map(_change_text, counterfactual.changes))
    return f"{changes} ({counterfactual.score} points, probability of default {probability_text(counterfactual.pd)})"


def _change_text(change: credit_pb2.FeatureChange) -> str:
    """Return one change in the words of the server, without what follows a semicolon in the feature's description."""
    name, _, values = change.text.rpartition(": ")
    return f"{name.partition(';')[0]}: {values}" if name else change.feature


def warning_text(warning: explain_pb2.Warning) -> str:
    """Return a warning of an assessment as a sentence; a warning of a newer server as its code and feature."""
    if warning.code == "UNSEEN_LEVEL":
        return (
            f"the level of {warning.feature} did not occur in training, and the model treats it as none of the levels that it "
            f"knows [{warning.code}]"
        )
    return " ".join(filter(None, (warning.code, warning.feature)))


def reason_line(reason: explain_pb2.Reason) -> str:
    """Return a reason with what its features contribute together, and the features if there are several."""
    if reason.HasField("points"):
        figure = f"{reason.points:+d} points"
    elif reason.HasField("log_odds"):
        figure = f"{reason.log_odds:+.6f} log-odds"
    else:
        return reason.text
    *others, last = [*reason.features] or [""]
    parts = f": {', '.join(others)} and {last} together" if others else ""
    return f"{reason.text} ({figure}{parts})"


def policy_title(section: credit_pb2.PolicySection) -> str:
    """Return the market, the product and the period of a section."""
    since = "from" if section.in_force else "not before"
    until = f" until {section.effective_until}" if section.effective_until else ""
    return f"{section.market} {section.product}, {since} {section.effective_from}{until}"


def policy_lines(section: credit_pb2.PolicySection) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each entry of a section: cut-offs, limits, ages, hard rules, override reasons."""
    yield "approve", f"pd up to {number_text(section.approve_max_pd)}"
    yield "refer", f"pd up to {number_text(section.refer_max_pd)}"
    yield "largest amount", money_text(section.largest_amount)
    yield from ((f"grade {limit.grade}", money_text(limit.largest_amount)) for limit in section.limits)
    if section.limits:
        yield "other grades", "always referred to a person"
    if section.mandatory_inputs:
        yield "mandatory inputs", ", ".join(section.mandatory_inputs)
    yield "stored features", f"at most {section.features_max_age_days} days old"
    yield "decision valid", f"{section.valid_days} days"
    for rule in section.hard_rules:
        yield f"fact {rule.fact}", _rule_text(rule)
    for input_rule in section.input_rules:
        yield f"input {input_rule.code}", input_rule_text(input_rule)
    if section.HasField("overrides"):
        yield "second person", f"for an override above {money_text(section.overrides.second_person_above)}"
    for reason in (*section.overrides.high_side_reasons, *section.overrides.low_side_reasons):
        yield f"override {reason.code}", reason.text


def hard_rule_sentence(rule: credit_pb2.HardRule) -> str:
    """Return a hard rule as a sentence, such as: If blocked is yes, only DECLINE is allowed; if it is missing, only REFER or DECLINE."""
    condition = rule.WhichOneof("condition") or ""
    bound = f"{condition} {number_text(getattr(rule, condition))}" if condition in {"below", "above"} else rule.level
    missing = decision_name(rule.best_decision_if_missing)
    consequence = "nothing follows" if missing == "APPROVE" else f"only {allowed_text(rule.best_decision_if_missing)}"
    return f"If {rule.fact} is {bound}, only {allowed_text(rule.best_decision)} is allowed; if it is missing, {consequence}."


def allowed_text(best: credit_pb2.Decision) -> str:
    """Return the decisions that a rule allows whose best decision is this one, such as REFER or DECLINE."""
    names = [decision_name(each) for each in _BEST_FIRST]
    name = decision_name(best)
    return " or ".join(names[names.index(name) :]) if name in names else name


def _rule_text(rule: credit_pb2.HardRule) -> str:
    """Return the condition of a hard rule, and the best decision that it allows."""
    condition = rule.WhichOneof("condition") or ""
    bound = f"{condition} {number_text(getattr(rule, condition))}" if condition in {"below", "above"} else rule.level
    passing = f"; otherwise {', '.join(rule.passing_levels)}" if rule.passing_levels else ""
    missing = f"; if missing {decision_name(rule.best_decision_if_missing)}"
    return f"{bound}: {decision_name(rule.best_decision)}{passing}{missing} [{rule.code}]"


def input_rule_text(rule: credit_pb2.InputRule) -> str:
    """Return the condition of a rule about inputs, and the features to which it applies."""
    condition = _INPUT_CONDITIONS.get(rule.condition, "has a condition that this version of the client does not know")
    return f"REFER if {', '.join(rule.features) or 'any feature'} {condition.format(days=rule.max_age_days)}"


def percent_text(share: float) -> str:
    """Return a share as a percentage with up to six significant digits, without trailing zeros: 0.15 becomes 15%."""
    return f"{number_text(100 * share)}%"


def contact_text(risk: churn_pb2.ChurnRisk) -> str:
    """Return a text that states whether a campaign may contact the customer and, if it may not, the reasons."""
    reasons = [*(["held out"] if risk.hold_out else []), *risk.suppressions]
    return "may be contacted" if risk.action_allowed else f"no action{': ' + ', '.join(reasons) if reasons else ''}"


def contact_event_text(contact: churn_pb2.Contact) -> str:
    """Return a recorded contact as one line."""
    channel = enum_name(churn_pb2.ContactChannel, contact.channel)
    what = "did not take place" if contact.channel == churn_pb2.CONTACT_CHANNEL_NONE else f"by {channel.lower()}"
    campaign = f", campaign {contact.campaign}" if contact.campaign else ""
    withheld = "; the run withholds this customer from campaigns" if contact.withheld else ""
    corrects = f", corrects {contact.corrects_contact_id}" if contact.corrects_contact_id else ""
    return f"contact {contact.contact_id}, {time_text(contact.contact_time)}: {what}{campaign}{corrects}{withheld}"


def recorded_contact_text(recorded: churn_pb2.RecordedContact) -> str:
    """Return a recorded contact as one line, with what became of it."""
    if recorded.content_removed:
        return f"contact {recorded.contact_id}, recorded {time_text(recorded.record_time)}: its content was removed"
    corrected = recorded.corrected_by_contact_id
    return contact_event_text(recorded.contact) + (f"; corrected by {corrected}" if corrected else "")


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


def latest_override_text(override: credit_pb2.Override) -> str:
    """Return the override in force in a few words, for a table."""
    return f"{decision_name(override.decision)} {money_text(override.granted_amount)} by {override.user_id}"


def outcome_event_text(outcome: credit_pb2.Outcome) -> str:
    """Return the event of an outcome and its day, for a table."""
    event = {
        "booked": f"booked {money_text(outcome.booked.amount)}",
        "days_past_due": f"{outcome.days_past_due.days} days past due",
        "default": f"default, {outcome.default.trigger_code}",
        "cure": "cured",
    }.get(str(outcome.WhichOneof("event")), "an event that this version of the client does not know")
    day = outcome.event_date
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}: {event}"


def outcome_text(outcome: credit_pb2.Outcome) -> str:
    """Return an outcome as one line."""
    corrects = f", corrects {outcome.corrects_outcome_id}" if outcome.corrects_outcome_id else ""
    return f"outcome {outcome.outcome_id}, {outcome_event_text(outcome)}{corrects}"
