"""The auditor's pages: lists and samples of decisions, and the evidence of one decision."""

import datetime as dt
from itertools import chain, islice
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.field_table import field_table
from console.log_key import choose_log_key
from console.pages.form import Form, FormInvalid
from console.pages.home import COMPARISON
from console.pages.papers import note_reading
from console.purpose import require_purpose
from console.rendering import render_markup, render_page, render_parts
from console.time_line import activation_time_line
from grounds.audit.v1 import sample_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client import Client
from grounds_client.evidence.checks import check_decision_evidence
from grounds_client.evidence.decision_page import decision_parts
from grounds_client.formatting import enum_name

_PAGE_SIZE = 50
_SAMPLE_MAX = 1000
_CHANGES_MAX = 200
_DECISION_NAMES = [enum_name(credit_pb2.Decision, number) for number in credit_pb2.Decision.values() if number]


def list_decisions(request: Request, client: Client) -> Response:
    """Show decisions, newest first, or the one decision whose id was typed.

    The server records a list of the decisions about one customer as a reading, so such a list needs a purpose.
    """
    form = Form(request)
    if decision_id := form.text("decision_id"):
        return RedirectResponse(f"/evidence/{quote(decision_id, safe='')}", 303)
    wanted, customer = _filter(form), form.text("customer")
    form.check()
    if customer and not wanted.market:
        raise FormInvalid(
            ["market: is required with a customer, because customer numbers are unique in one market only"]
        )
    page = client.list_decisions_page(
        wanted,
        customer_id=customer,
        purpose=require_purpose(request) if customer else "",
        page_size=_PAGE_SIZE,
        page_token=form.text("page_token"),
    )
    return render_page(
        request,
        "decisions.html",
        "Decisions",
        form=form,
        decision_names=_DECISION_NAMES,
        decisions=page.decisions,
        reading=page.reading if page.HasField("reading") else None,
        next_query=urlencode(form.entries | {"page_token": page.next_page_token}) if page.next_page_token else "",
    )


def list_activations(request: Request, client: Client) -> Response:
    """Show which bundles and policies were made active, by whom and why, or what was in force at the end of a day."""
    form = Form(request)
    end = form.end_of_day("day")
    form.check()
    changes = client.list_activations(
        market=form.text("market"),
        family=form.text("family"),
        at=end,
        page_size=_CHANGES_MAX,
    )
    shown = list(islice(changes, _CHANGES_MAX))
    drawing = None if end else activation_time_line(shown, dt.datetime.now(dt.UTC))
    return render_page(
        request, "activations.html", "Activations", form=form, changes=shown, changes_max=_CHANGES_MAX, drawing=drawing
    )


def show_sample(request: Request, client: Client) -> Response:
    """Show a random sample of decisions that the same seed draws again, and the form to draw one."""
    form = Form(request)
    wanted, size, tree_size = _filter(form), form.number("size", 25, _SAMPLE_MAX), form.number("tree_size", 0, 1 << 62)
    strata: list[Any] = [each for each in sample_pb2.StratumKey.values() if each and form.text(f"by_{_key_name(each)}")]
    form.check()
    seed = form.text("seed")
    sample = None
    if seed:
        sample = client.sample_decisions(
            seed, size=size, stratify_by=strata, tree_size=tree_size, decision_filter=wanted
        )
    keys = [_key_name(each) for each in sample_pb2.StratumKey.values() if each]
    return render_page(
        request,
        "sample.html",
        "Sample",
        form=form,
        sample=sample,
        seed=seed,
        size=size,
        keys=keys,
        decision_names=_DECISION_NAMES,
    )


def show_evidence(request: Request, client: Client) -> Response:
    """Show everything that is recorded about one decision. The server records the reading and its purpose."""
    purpose, decision_id = require_purpose(request), request.path_params["decision_id"]
    evidence = client.get_evidence(decision_id, purpose)
    replay = client.replay_decision(decision_id, purpose)
    key = choose_log_key(request, evidence.verifier_key)
    checks = check_decision_evidence(evidence, key.key, given=key.is_given)
    parts = decision_parts(evidence, replay, checks, purpose=purpose, key=key.description, comparison=COMPARISON)
    form = note_reading(request, evidence, purpose)
    link = render_markup("customer_link.html", customer=evidence.request.customer)
    shown = chain([] if form is None else [form], parts, [link, field_table(evidence)])
    return render_parts(request, f"Evidence of credit decision {decision_id}", shown)


def _key_name(key: int) -> str:
    """Return the name of a stratum key in lowercase letters, such as market."""
    return enum_name(sample_pb2.StratumKey, key).lower()


def _filter(form: Form) -> sample_pb2.DecisionFilter:
    """Return the filter that a form describes."""
    found = sample_pb2.DecisionFilter(
        market=form.text("market"),
        bundle_id=form.text("bundle_id"),
        decision=form.choice("decision", credit_pb2.Decision),
        grade=form.text("grade"),
        caller=form.text("caller"),
    )
    start, end = form.day("start"), form.end_of_day("end")
    if start is not None:
        found.start_time.FromDatetime(start)
    if end is not None:
        found.end_time.FromDatetime(end)
    return found
