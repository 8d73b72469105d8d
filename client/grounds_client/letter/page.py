"""Renders a letter as an HTML page for printing."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from babel.dates import format_date
from babel.numbers import format_currency
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2
from grounds_client.evidence.markup import Markup, section, tag, text_list
from grounds_client.formatting import decision_name
from grounds_client.letter.wording import GENERAL, Wording, jurisdiction_of
from grounds_client.money import Amount

REASONS_MAX = 4  # 12 CFR 1002, Supplement I, comment 9(b)(2), paragraphs 1 and 7: at most four reasons in all


@dataclass(frozen=True)
class Sender:
    """The sender of a letter.

    Attributes:
        name: Name and address of the company; lines are separated by line ends.
        contact: How to reach the people who review decisions.
        agency: The federal agency that a letter in the United States must name; "" elsewhere.
    """

    name: str
    contact: str
    agency: str = ""


def render_letter(
    answer: credit_pb2.GetCreditDecisionResponse,
    override_reason: str,
    wording: Wording,
    sender: Sender,
    day: dt.date,
    english: Wording | None = None,
) -> str:
    """Return the letter as self-contained HTML, which loads no other file.

    Args:
        answer: The decision with its overrides and its notice.
        override_reason: The reason for the last override, in the language of the letter; "" without an override.
        wording: The wording in the language of the notice.
        sender: The sender.
        day: Date of the letter.
        english: The English wording. It is used if `wording` lacks the paragraph of the market's jurisdiction; None if
            `wording` has the paragraph or no paragraph is needed.
    """
    parts = list(_letter_parts(answer, override_reason, wording, sender, day, english))
    style = resources.files("grounds_client.letter").joinpath("letter.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", wording.texts["title"]),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", *parts))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang=wording.locale)}\n"


def _letter_parts(
    answer: credit_pb2.GetCreditDecisionResponse,
    override_reason: str,
    wording: Wording,
    sender: Sender,
    day: dt.date,
    english: Wording | None,
) -> Iterator[Markup]:
    """Yield the parts of the letter in their order."""
    decision, texts = answer.credit_decision, wording.texts
    override = answer.overrides[-1] if answer.overrides else None
    outcome = decision_name(override.decision if override else decision.decision)
    values = _values(decision, override, wording, sender)
    yield tag("address", *_lines(sender.name))
    yield tag("p", f"{decision.customer.market} {decision.customer.customer_id}", class_="addressee")
    yield tag("p", f"{texts['date']}: {_date(day, wording)}", class_="date")
    yield tag("h1", texts["title"])
    yield tag("p", f"{texts['number']}: {decision.record_ref.decision_id}", class_="soft")
    yield tag("p", texts["greeting"])
    yield tag("p", tag("strong", texts[outcome].format_map(values)))
    yield tag("p", texts["by_person" if override else "by_policy"].format_map(values))
    if outcome != "APPROVE":
        yield section(texts["reasons_title"], *_reasons(answer, override_reason, wording))
        if answer.notice.HasField("recourse"):
            yield section(texts["changes_title"], *_changes(answer.notice.recourse, wording))
    yield section(
        texts["review_title"],
        tag("p", texts["review"].format_map(values)),
        tag("p", texts["data"]),
        _rights(decision.customer.market, wording, english, values),
    )
    yield tag("p", texts["closing"], class_="closing")
    yield tag("address", *_lines(sender.name))
    yield tag("footer", tag("p", wording.jurisdictions[GENERAL]))


def _values(
    decision: credit_pb2.CreditDecision, override: credit_pb2.Override | None, wording: Wording, sender: Sender
) -> dict[str, str]:
    """Return the values of the placeholders by name."""
    granted = override.granted_amount if override else decision.assessment.policy_result.approvable_amount
    overridden = _local_day(override.override_time) if override else None
    return {
        "amount": _money(decision.requested_amount, wording),
        "granted": _money(granted, wording),
        "decided": _date(_local_day(decision.record_ref.decide_time), wording),
        "overridden": _date(overridden, wording) if overridden else "",
        "contact": sender.contact,
        "agency": sender.agency,
    }


def _reasons(answer: credit_pb2.GetCreditDecisionResponse, override_reason: str, wording: Wording) -> Iterator[Markup]:
    """Yield the principal reasons why not all was granted.

    The reason of a person comes first, if the person granted less than the policy, or nothing after a referral. The reason for
    granting more is no reason against the applicant. The reasons of the policy and the model count only if they led to less than
    an approval.
    """
    reasons = []
    override = answer.overrides[-1] if answer.overrides else None
    if override is not None and _speaks_against(override):
        reasons.append(override_reason)
    if answer.credit_decision.decision != credit_pb2.DECISION_APPROVE:
        reasons += [each.text for each in answer.notice.reasons.reasons]
    reasons = [text for text in reasons if text][:REASONS_MAX]
    yield text_list(reasons, "ol") if reasons else tag("p", wording.texts["reasons_none"])


def _speaks_against(override: credit_pb2.Override) -> bool:
    """Return whether the reason of an override speaks against the applicant."""
    granted = override.granted_amount
    grants = granted.units > 0 or granted.nanos > 0
    return override.side == credit_pb2.OVERRIDE_SIDE_HIGH or (
        override.side == credit_pb2.OVERRIDE_SIDE_REFERRAL and not grants
    )


def _changes(recourse: credit_pb2.Recourse, wording: Wording) -> Iterator[Markup]:
    """Yield what would have changed the automatic assessment."""
    options = [text_list(change.text for change in each.changes) for each in recourse.counterfactuals]
    if not options:
        yield tag("p", wording.texts["changes_none"])
        return
    yield tag("p", wording.texts["changes_one" if len(options) == 1 else "changes_intro"])
    yield options[0] if len(options) == 1 else tag("ol", *(tag("li", each) for each in options))


def _rights(market: str, wording: Wording, english: Wording | None, values: dict[str, str]) -> Markup | None:
    """Return the paragraph of the jurisdiction, in English if `wording` has none; None outside the EEA and the US."""
    jurisdiction = jurisdiction_of(market)
    if jurisdiction == GENERAL:
        return None
    if jurisdiction in wording.jurisdictions:
        return tag("p", wording.jurisdictions[jurisdiction].format_map(values))
    assert english is not None, "every paragraph of a jurisdiction exists in English"
    return tag("p", english.jurisdictions[jurisdiction].format_map(values), lang=english.locale)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with breaks between them."""
    for number, line in enumerate(text.splitlines()):
        yield from (Markup("<br>"), line) if number else (line,)


def _local_day(time: Timestamp) -> dt.date:
    """Return the day of a time in the time zone of this machine, as the date of the letter is."""
    return time.ToDatetime(dt.timezone.utc).astimezone().date()


def _date(day: dt.date, wording: Wording) -> str:
    """Return a day in the long date format of the language."""
    return format_date(day, format="long", locale=wording.locale.replace("-", "_"))


def _money(money: Money, wording: Wording) -> str:
    """Return an amount in the number format of the language, with its currency code."""
    amount = Amount.from_money(money)
    return format_currency(
        amount.value,
        amount.currency,
        format="#,##0.00 ¤¤",
        locale=wording.locale.replace("-", "_"),
        currency_digits=True,
    )
