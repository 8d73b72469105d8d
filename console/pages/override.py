"""The loan desk's form for an override, its confirmation, and the agreement of a second person."""

import dataclasses
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.override_proposals import OverrideProposals, ProposedOverride
from console.pages.form import Form, add_problem, field_problems
from console.query import uses_tls
from console.rendering import render_page
from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, CallFailed, Client
from grounds_client.formatting import outcome_text, override_text

_CHOICES = {
    "APPROVE": (credit_pb2.DECISION_APPROVE, "Grant the requested amount"),
    "APPROVE_REDUCED": (credit_pb2.DECISION_APPROVE_REDUCED, "Grant a smaller amount"),
    "DECLINE": (credit_pb2.DECISION_DECLINE, "Grant nothing"),
}
_CHOICE_TEXTS = {name: text for name, (_, text) in _CHOICES.items()}
# The policy has no section for the decision, or the person may not read it.
_NO_POLICY = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED}
_USER_ID = re.compile(r"[A-Za-z0-9._:@-]{1,64}")  # as the contract states it
_REQUIRED = ("decision", "reason_code", "user_id", "user_role", "authority_limit")
_OVERRIDDEN_SINCE = (
    "was overridden since this override was filled in; read the history on this page, and fill in the form again if the "
    "override still applies"
)
_NO_AMOUNT = Amount.parse("0XXX")  # stands for an amount that is missing or invalid, in a proposal that is never sent


def find_override_rules(client: Client, decision: credit_pb2.CreditDecision) -> credit_pb2.OverrideRules | None:
    """Return which overrides of a decision the policy in force allows; None if it allows none.

    None too if the person may not read the policy: the server decides whether an override may be recorded.

    Raises:
        CallFailed: The server does not answer, so nothing is known about the policy.
    """
    product = decision.assessment.policy_result.product
    try:
        sections = client.get_policy(market=decision.customer.market, product=product).sections
    except CallFailed as error:
        if error.code not in _NO_POLICY:
            raise
        return None
    for section in sections:
        if section.in_force and section.HasField("overrides"):
            return section.overrides
    return None


def history_lines(found: credit_pb2.GetCreditDecisionResponse) -> list[str]:
    """Return what was recorded about a decision since it was made, one line for each override and outcome."""
    return [*map(override_text, found.overrides), *map(outcome_text, found.outcomes)]


def show_override_form(request: Request, client: Client) -> Response:
    """Show the empty form."""
    found = client.get_credit_decision(request.path_params["decision_id"])
    return _show_form(request, client, found, Form(request), {})


def post_override(request: Request, client: Client) -> Response:
    """Show the override that a person filled in, for confirmation; if it is confirmed, record it."""
    form = Form(request)
    found = client.get_credit_decision(request.path_params["decision_id"])
    proposal, problems = _read_proposal(request, form, found.credit_decision)
    step = form.text("step")
    if problems or step == "change" or (step != "record" and _is_overridden_since(found, proposal)):
        return _show_filled_form(request, client, found, form, proposal, problems)
    if step != "record":
        return _show_proposal(request, client, found, proposal, "Record this override?")
    try:
        _record(client, proposal)
    except CallFailed as error:
        if _lacks_second_person(error) and request.state.person:
            return _show_link(request, found.credit_decision, proposal)
        if not error.problems:
            raise
        found = client.get_credit_decision(
            proposal.decision_id
        )  # with an override that was recorded since the first read
        return _show_filled_form(request, client, found, form, proposal, _problems_by_field(error))
    return RedirectResponse(f"/decisions/{proposal.decision_id}", 303)


def show_proposal(request: Request, client: Client) -> Response:
    """Show an override that waits for a second person."""
    proposal = _proposals(request).find(request.path_params["proposal_id"])
    return _show_agreement(request, client, proposal, {})


def agree_to_proposal(request: Request, client: Client) -> Response:
    """Record an override with the person who agrees as the second person.

    The server checked the first person's limit, with their token, when it answered that only the second person is missing, and
    checks that of the second person, whose token records, now. It does not compare the ids of the persons with its callers. It
    rejects the override if another one was recorded since the first person filled in the form, because nobody has weighed
    it against the newer one; this ends the proposal.
    """
    proposal = _proposals(request).find(request.path_params["proposal_id"])
    if problem := _person_problem(request.state.person):
        return _show_agreement(request, client, proposal, {"second_user_id": problem})
    try:
        _record(client, dataclasses.replace(proposal, second_user_id=request.state.person))
    except CallFailed as error:
        if not error.problems:
            raise
        return _show_agreement(request, client, proposal, _problems_by_field(error))
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
    if problem := _person_problem(person):
        problems["user_id"] = problem
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
        newest_override_id=form.text("newest_override_id"),
    )
    return proposal, problems


def _person_problem(person: str) -> str:
    """Return why the person who is signed in cannot be named in an override; "" if they can, or if nobody is signed in."""
    if not person or _USER_ID.fullmatch(person):
        return ""
    return (
        f"must have 1 to 64 letters, digits and . _ : @ -, and you are signed in as {person!r}; ask the operator for a sign-in "
        "whose subject fits"
    )


def _newest_override_id(found: credit_pb2.GetCreditDecisionResponse) -> str:
    """Return the override in force; "" if the decision has none."""
    return found.overrides[-1].override_id if found.overrides else ""


def _is_overridden_since(found: credit_pb2.GetCreditDecisionResponse, proposal: ProposedOverride) -> bool:
    """Return whether another override was recorded after the form of this one was filled in.

    Pages tell a person with it what they must read. Whether an override may be recorded, the server decides.
    """
    newest = _newest_override_id(found)  # "" if retention removed the override that the person has seen
    return newest not in {"", proposal.newest_override_id}


def _record(client: Client, proposal: ProposedOverride) -> None:
    """Record an override. The server rejects it if another one was recorded since its form was filled in."""
    fields = {field.name: getattr(proposal, field.name) for field in dataclasses.fields(proposal)}
    fields["previous_override_id"] = fields.pop("newest_override_id")
    client.record_override(fields.pop("decision_id"), fields.pop("decision"), **fields)


def _lacks_second_person(error: CallFailed) -> bool:
    """Return whether nothing is wrong with an override but that a second person must agree."""
    return [(each.field, each.kind) for each in error.problems] == [("second_user_id", "REQUIRED")]


def _problems_by_field(error: CallFailed) -> dict[str, str]:
    """Return what the server says about each field of the form."""
    found: dict[str, str] = {}
    for name, problem in field_problems(error):
        if name == "previous_override_id":
            add_problem(found, "decision", _OVERRIDDEN_SINCE)
        else:
            add_problem(found, name, problem)
    return found


def _show_filled_form(
    request: Request,
    client: Client,
    found: credit_pb2.GetCreditDecisionResponse,
    form: Form,
    proposal: ProposedOverride,
    problems: dict[str, str],
) -> Response:
    """Return the page with a form that was sent, which states an override that was recorded since it was filled in."""
    if _is_overridden_since(found, proposal):
        add_problem(problems, "decision", _OVERRIDDEN_SINCE)
    return _show_form(request, client, found, form, problems)


def _show_form(
    request: Request,
    client: Client,
    found: credit_pb2.GetCreditDecisionResponse,
    form: Form,
    problems: Mapping[str, str],
) -> Response:
    """Return the page with the form."""
    return render_page(
        request,
        "override.html",
        "Override a decision",
        status=HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        decision=found.credit_decision,
        history=history_lines(found),
        newest_override_id=_newest_override_id(found),
        rules=find_override_rules(client, found.credit_decision),
        form=form,
        problems=problems,
        choices=_CHOICE_TEXTS,
        person=request.state.person,
    )


def _show_agreement(
    request: Request, client: Client, proposal: ProposedOverride, problems: Mapping[str, str]
) -> Response:
    """Return the page that asks a second person to agree to an override, without the button if it is too late."""
    found, question = client.get_credit_decision(proposal.decision_id), "Do you agree to this override?"
    if _is_overridden_since(found, proposal):
        problems = {"decision": _OVERRIDDEN_SINCE}
        return _show_proposal(request, client, found, proposal, question, problems=problems, is_too_late=True)
    return _show_proposal(request, client, found, proposal, question, problems=problems)


def _show_proposal(
    request: Request,
    client: Client,
    found: credit_pb2.GetCreditDecisionResponse,
    proposal: ProposedOverride,
    question: str,
    *,
    problems: Mapping[str, str] | None = None,
    is_too_late: bool = False,
) -> Response:
    """Return the page that asks a person to confirm an override, or a second person to agree to it."""
    rules = find_override_rules(client, found.credit_decision)
    reasons = [*rules.high_side_reasons, *rules.low_side_reasons] if rules else []
    reason = next((each.text for each in reasons if each.code == proposal.reason_code), proposal.reason_code)
    choice = next(name for name, (number, _) in _CHOICES.items() if number == proposal.decision)
    return render_page(
        request,
        "override_proposal.html",
        question,
        status=HTTPStatus.CONFLICT if is_too_late else HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        decision=found.credit_decision,
        history=history_lines(found),
        proposal=proposal,
        reason=reason,
        choice=choice,
        choice_text=_CHOICE_TEXTS[choice],
        problems=problems or {},
        is_agreement="proposal_id" in request.path_params,
        is_too_late=is_too_late,
        person=request.state.person,
    )


def _show_link(request: Request, decision: credit_pb2.CreditDecision, proposal: ProposedOverride) -> Response:
    """Keep an override that a second person must agree to; return the page with the link for that person."""
    name = _proposals(request).add(proposal)
    link = f"{'https' if uses_tls(request) else 'http'}://{request.headers['host']}/overrides/{name}"
    return render_page(request, "override_link.html", "A second person must agree", decision=decision, link=link)


def _proposals(request: Request) -> OverrideProposals:
    """Return the overrides that wait for a second person."""
    found: OverrideProposals = request.app.state.proposals
    return found
