"""The command that writes a letter to the person concerned."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from grounds.credit.v1 import credit_pb2
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.client import Client
from grounds_client.commands.connection import connect
from grounds_client.commands.options import Address, DecisionId
from grounds_client.commands.output import print_message
from grounds_client.errors import CallFailed
from grounds_client.letter.page import Sender, render_letter
from grounds_client.letter.pdf import print_pdf
from grounds_client.letter.wording import find_language, jurisdiction_of, read_wording
from grounds_record.private_files import replace_file

_ENGLISH = "en"


def letter(
    decision_id: DecisionId,
    locale: Annotated[str, typer.Option(help="Language of the letter, such as de.")],
    sender: Annotated[str, typer.Option(help="Name and address of the company; lines are separated by commas.")],
    contact: Annotated[str, typer.Option(help="How to reach the people who review decisions.")],
    to: Annotated[
        Path, typer.Option(metavar="FILE", help="The letter: FILE.html, or FILE.pdf if a browser is installed.")
    ],
    agency: Annotated[str, typer.Option(help="In the United States: the federal agency that the letter names.")] = "",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Write a letter to the person concerned: the decision, its reasons, what would have changed it, and whom to ask.

    The texts come from the record of the decision. If the model has no texts in the requested language, the letter is
    in a language of the market, or else in English, and the command says so.
    """
    if to.suffix not in {".html", ".pdf"}:
        raise typer.BadParameter(f"must end in .html or .pdf, got {to.name}", param_hint="--to")
    with connect(address) as client:
        answer = client.get_credit_decision(decision_id, notice_locale=locale)
        if not find_language(answer.notice.reasons.locale):
            answer = client.get_credit_decision(decision_id, notice_locale=_ENGLISH)
        decision, used = answer.credit_decision, answer.notice.reasons.locale
        if jurisdiction_of(decision.customer.market) == "US" and not agency:
            raise typer.BadParameter(
                "a letter in the United States names the federal agency that supervises the company (12 CFR 1002.9(b)(1)); state it",
                param_hint="--agency",
            )
        override_reason = _override_reason(client, answer, used)
    today = dt.datetime.now(dt.timezone.utc).astimezone().date()
    page = render_letter(
        answer,
        override_reason,
        read_wording(find_language(used), today),
        Sender("\n".join(line.strip() for line in sender.split(",")), contact, agency),
        today,
        read_wording(_ENGLISH, today),
    )
    with replace_file(to) as temporary:
        temporary.write_bytes(print_pdf(page) if to.suffix == ".pdf" else page.encode())
    other = (
        ""
        if used == locale
        else f", because the model, the policy or the wording of letters has no texts in {locale!r}"
    )
    print_message(f"{to}: letter about decision {decision_id} in {used!r}{other}")


def _override_reason(client: Client, answer: credit_pb2.GetCreditDecisionResponse, locale: str) -> str:
    """Return the text of the last override's reason; "" if there is no override.

    A text that was recorded in the language of the letter is used as recorded. Otherwise the text comes from the
    current policy. If the reason is no longer in the policy, the recorded text is returned, in its own language.
    """
    if not answer.overrides:
        return ""
    override, decision = answer.overrides[-1], answer.credit_decision
    if override.locale == locale:
        return override.reason_text
    try:
        policy = client.get_policy(market=decision.customer.market, locale=locale)
    except CallFailed as error:
        if error.reason != "NO_POLICY":
            raise
        return override.reason_text
    rules = [section.overrides for section in policy.sections]
    reasons = [reason for rule in rules for reason in (*rule.high_side_reasons, *rule.low_side_reasons)]
    return next((each.text for each in reasons if each.code == override.reason_code), override.reason_text)
