"""The CRM's form for a contact with a customer at risk, and its confirmation.

Recorded contacts show later whether a campaign had an effect. The service never edits one, so the person confirms it first.
"""

import datetime as dt
import uuid
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from console.pages.form import Form, FormInvalid, add_problem, field_problems
from console.rendering import render_page
from grounds.churn.v1 import churn_pb2
from grounds_client import CallFailed, Client
from grounds_client.formatting import contact_event_text, enum_name

_CHANNELS = {
    "PHONE": "Telephone call",
    "EMAIL": "E-mail",
    "MESSAGE": "Text message",
    "LETTER": "Letter",
    "VISIT": "Visit",
    "OTHER": "Another way",
}
_WITHDRAWAL = {"NONE": "The contact did not take place"}  # valid in a correction only
_REQUIRED = ("contact_time", "channel")


def show_contact_form(request: Request, client: Client) -> Response:
    """Show the empty form, with the present time."""
    return _show_form(request, client, _read_form(request), {})


def post_contact(request: Request, client: Client) -> Response:
    """Show the contact that a person filled in, for confirmation; if it is confirmed, record it."""
    form = _read_form(request)
    time, channel = form.minute("contact_time"), form.choice("channel", churn_pb2.ContactChannel)
    problems, step = form.problems, form.text("step")
    for name in _REQUIRED:
        if not form.text(name):
            problems.setdefault(name, "is required")
    if problems or step == "change" or time is None:
        return _show_form(request, client, form, problems)
    if step != "record":
        return _show_question(request, client, form, channel)
    try:
        recorded = client.record_contact(
            request.path_params["market"],
            form.text("customer"),
            form.text("run"),
            channel,
            time,
            campaign=form.text("campaign"),
            corrects_contact_id=form.text("corrects"),
            request_id=form.text("request_id") or None,
        )
    except CallFailed as error:
        if not error.problems:
            raise
        for name, problem in field_problems(error):
            add_problem(problems, name, problem)
        return _show_form(request, client, form, problems)
    return render_page(
        request,
        "contact_recorded.html",
        "The contact is recorded",
        contact=recorded,
        line=contact_event_text(recorded),
        family=form.text("family"),
    )


def _read_form(request: Request) -> Form:
    """Return the form, which names the customer and the run whose prediction led to the contact.

    Raises:
        FormInvalid: It names no customer or no run.
    """
    form = Form(request)
    missing = [
        f"{name}: is missing; begin on the page of the customer" for name in ("customer", "run") if not form.text(name)
    ]
    if missing:
        raise FormInvalid(missing)
    return form


def _show_form(request: Request, client: Client, form: Form, problems: dict[str, str]) -> Response:
    """Return the page with the form."""
    return render_page(
        request,
        "contact.html",
        "Correct a contact" if form.text("corrects") else "Record a contact",
        status=HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        form=form,
        risk=_risk(request, client, form),
        market=request.path_params["market"],
        channels=_channels(form),
        now=f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M}",
        problems=problems,
    )


def _show_question(request: Request, client: Client, form: Form, channel: int) -> Response:
    """Return the page that asks a person to confirm a contact. A repeated click records it once."""
    return render_page(
        request,
        "contact_question.html",
        "Record this contact?",
        form=form,
        risk=_risk(request, client, form),
        market=request.path_params["market"],
        channel=_channels(form).get(enum_name(churn_pb2.ContactChannel, channel), form.text("channel")),
        request_id=str(uuid.uuid4()),
    )


def _channels(form: Form) -> dict[str, str]:
    """Return the channels that the form offers, by name. Only a correction can state that a contact did not take place."""
    return _CHANNELS | _WITHDRAWAL if form.text("corrects") else _CHANNELS


def _risk(request: Request, client: Client, form: Form) -> churn_pb2.ChurnRisk | None:
    """Return the customer's newest prediction; None if the newest run has none, as for a customer of an earlier run.

    If the prediction is of the run of the contact, it states whether a campaign may contact the customer.
    """
    try:
        return client.get_churn_risk(request.path_params["market"], form.text("customer"), family=form.text("family"))
    except CallFailed as error:
        if error.reason != "CUSTOMER_UNKNOWN":
            raise
        return None
