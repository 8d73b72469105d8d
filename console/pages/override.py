"""The loan desk's form for an override, its confirmation, and the agreement of a second person."""

import dataclasses
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.override_proposals import OverrideProposals, ProposedOverride
from console.pages.form import Form
from console.rendering import render_page
from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, CallFailed, Client

_CHOICES = {
    "APPROVE": (credit_pb2.DECISION_APPROVE, "Grant the requested amount"),
    "APPROVE_REDUCED": (credit_pb2.DECISION_APPROVE_REDUCED, "Grant a smaller amount"),
    "DECLINE": (credit_pb2.DECISION_DECLINE, "Grant nothing"),
}
_CHOICE_TEXTS = {name: text for name, (_, text) in _CHOICES.items()}
_REQUIRED = ("decision", "reason_code", "user_id", "user_role", "authority_limit")
_NO_AMOUNT = Amount.parse("0XXX")  # stands for an amount that is missing or invalid, in a proposal that is never sent


def find_override_rules(client: Client, decision: credit_pb2.CreditDecision) -> credit_pb2.OverrideRules | None:
    """Return which overrides of a decision the policy in force allows; None if it allows none.

    None too if the person may not read the policy: the server decides whether an override may be recorded.
    """
    product = decision.assessment.policy_result.product
    try:
        sections = client.get_policy(market=decision.customer.market, product=product).sections
    except CallFailed:
        return None
    for section in sections:
        if section.in_force and section.HasField("overrides"):
            return section.overrides
    return None


def show_override_form(request: Request, client: Client) -> Response:
    """Show the empty form."""
    decision = client.get_credit_decision(request.path_params["decision_id"]).credit_decision
    return _show_form(request, client, decision, Form(request), {})


def post_override(request: Request, client: Client) -> Response:
    """Show the override that a person filled in, for confirmation; if it is confirmed, record it."""
    form = Form(request)
    decision = client.get_credit_decision(request.path_params["decision_id"]).credit_decision
    proposal, problems = _read_proposal(request, form, decision)
    if problems or form.text("step") == "change":
        return _show_form(request, client, decision, form, problems)
    if form.text("step") != "record":
        return _show_proposal(request, client, decision, proposal, "Record this override?")
    try:
        _record(client, proposal)
    except CallFailed as error:
        if _lacks_second_person(error) and request.state.person:
            return _show_link(request, decision, proposal)
        if not error.problems:
            raise
        return _show_form(request, client, decision, form, _problems_by_field(error))
    return RedirectResponse(f"/decisions/{proposal.decision_id}", 303)


def show_proposal(request: Request, client: Client) -> Response:
    """Show an override that waits for a second person."""
    proposal = _find_proposal(request)
    decision = client.get_credit_decision(proposal.decision_id).credit_decision
    return _show_proposal(request, client, decision, proposal, "Do you agree to this override?")


def agree_to_proposal(request: Request, client: Client) -> Response:
    """Record an override with the person who agrees as the second person.

    The server checked the first person's authority when it answered that only the second person is missing, and checks the
    second person's authority now.
    """
    proposal = _find_proposal(request)
    decision = client.get_credit_decision(proposal.decision_id).credit_decision
    agreed = dataclasses.replace(proposal, second_user_id=request.state.person)
    try:
        _record(client, agreed)
    except CallFailed as error:
        if not error.problems:
            raise
        problems = _problems_by_field(error)
        return _show_proposal(request, client, decision, proposal, "Do you agree to this override?", problems=problems)
    _proposals(request).delete(request.path_params["proposal_id"])
    return RedirectResponse(f"/decisions/{proposal.decision_id}", 303)


def _read_proposal(
    request: Request, form: Form, decision: credit_pb2.CreditDecision
) -> tuple[ProposedOverride, dict[str, str]]:
    """Return the override that a form describes, and what is wrong with its fields."""
    currency, person = decision.requested_amount.currency_code, request.state.person
    granted, authority = form.amount("granted_amount", currency), form.amount("authority_limit", currency)
    problems = form.problems
    choice = form.text("decision")
    if choice and choice not in _CHOICES:
        problems["decision"] = f"must be one of {', '.join(_CHOICES)}, got {choice!r}"
    for name in _REQUIRED:
        if not form.text(name) and not (name == "user_id" and person):
            problems.setdefault(name, "is required")
    proposal = ProposedOverride(
        decision_id=decision.record_ref.decision_id,
        decision=_CHOICES.get(choice, (credit_pb2.DECISION_UNSPECIFIED, ""))[0],
        granted_amount=granted,
        reason_code=form.text("reason_code"),
        user_id=person or form.text("user_id"),
        user_role=form.text("user_role"),
        authority_limit=authority or _NO_AMOUNT,
        second_user_id="" if person else form.text("second_user_id"),
        comment=form.text("comment").replace("\r\n", "\n"),
        request_id=form.text("request_id") or str(uuid.uuid4()),
    )
    return proposal, problems


def _record(client: Client, proposal: ProposedOverride) -> None:
    """Record an override."""
    fields = {field.name: getattr(proposal, field.name) for field in dataclasses.fields(proposal)}
    client.record_override(fields.pop("decision_id"), fields.pop("decision"), **fields)


def _lacks_second_person(error: CallFailed) -> bool:
    """Return whether nothing is wrong with an override but that a second person must agree."""
    return [(each.field, each.kind) for each in error.problems] == [("second_user_id", "REQUIRED")]


def _problems_by_field(error: CallFailed) -> dict[str, str]:
    """Return what the server says about each field of the form; the parts of a field count as the field."""
    found: dict[str, str] = {}
    for each in error.problems:
        name = each.field.partition(".")[0].partition("[")[0]
        found[name] = f"{found[name]}; {each.problem}" if name in found else each.problem
    return found


def _show_form(
    request: Request,
    client: Client,
    decision: credit_pb2.CreditDecision,
    form: Form,
    problems: Mapping[str, str],
) -> Response:
    """Return the page with the form."""
    return render_page(
        request,
        "override.html",
        "Override a decision",
        status=HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        decision=decision,
        rules=find_override_rules(client, decision),
        form=form,
        problems=problems,
        choices=_CHOICE_TEXTS,
        person=request.state.person,
    )


def _show_proposal(
    request: Request,
    client: Client,
    decision: credit_pb2.CreditDecision,
    proposal: ProposedOverride,
    question: str,
    *,
    problems: Mapping[str, str] | None = None,
) -> Response:
    """Return the page that asks a person to confirm an override, or a second person to agree to it."""
    rules = find_override_rules(client, decision)
    reasons = [*rules.high_side_reasons, *rules.low_side_reasons] if rules else []
    reason = next((each.text for each in reasons if each.code == proposal.reason_code), proposal.reason_code)
    choice = next(name for name, (number, _) in _CHOICES.items() if number == proposal.decision)
    return render_page(
        request,
        "override_proposal.html",
        question,
        status=HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        decision=decision,
        proposal=proposal,
        reason=reason,
        choice=choice,
        choice_text=_CHOICE_TEXTS[choice],
        problems=problems or {},
        is_agreement="proposal_id" in request.path_params,
        person=request.state.person,
    )


def _show_link(request: Request, decision: credit_pb2.CreditDecision, proposal: ProposedOverride) -> Response:
    """Keep an override that a second person must agree to; return the page with the link for that person."""
    name = _proposals(request).add(proposal)
    link = f"{request.headers['host']}/overrides/{name}"
    return render_page(request, "override_link.html", "A second person must agree", decision=decision, link=link)


def _proposals(request: Request) -> OverrideProposals:
    """Return the overrides that wait for a second person."""
    found: OverrideProposals = request.app.state.proposals
    return found


def _find_proposal(request: Request) -> ProposedOverride:
    """Return the proposal of a request's address; raise HTTPException if it has ended."""
    found = _proposals(request).find(request.path_params["proposal_id"])
    if found is None:
        raise HTTPException(
            HTTPStatus.NOT_FOUND,
            "This override was recorded already, or has waited for more than eight hours, or the console was restarted. "
            "Look at the decision; if the override is missing there, fill in its form again.",
        )
    return found
