"""The loan desk's pages: a request for a decision, a decision as it was made, and what other values would lead to."""

import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import urlencode

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.connections import listed_models
from console.pages.form import Form
from console.pages.override import find_override_rules, history_lines
from console.pages.slider import feature_sliders
from console.rendering import render_page
from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2
from grounds_client import CallFailed, Client
from grounds_client.evidence.markup import Markup
from grounds_client.evidence.waterfall import credit_waterfall
from grounds_client.formatting import latest_override_text, outcome_event_text, value_text

_PAGE_SIZE = 50


def show_decision(request: Request, client: Client) -> Response:
    """Show a decision with its reasons, and what was recorded since."""
    found = client.get_credit_decision(request.path_params["decision_id"])
    decision = found.credit_decision
    model = client.find_model(decision.assessment.model_output.bundle_id)
    return render_page(
        request,
        "decision.html",
        f"Credit decision {decision.record_ref.decision_id}",
        decision=decision,
        history=history_lines(found),
        may_override=find_override_rules(client, decision) is not None,
        waterfall=_draw(decision.assessment, model),
    )


def list_customer_decisions(request: Request, client: Client) -> Response:
    """Show the form of a customer; with market and customer, the decisions about the customer, newest first."""
    form = Form(request)
    market, customer = form.text("market"), form.text("customer")
    page = None
    if market and customer:
        page = client.list_customer_decisions_page(
            market, customer, page_size=_PAGE_SIZE, page_token=form.text("page_token")
        )
    token = page.next_page_token if page else ""
    return render_page(
        request,
        "customer_decisions.html",
        "Decisions about a customer",
        form=form,
        decisions=None if page is None else page.decisions,
        override_text=latest_override_text,
        event_text=outcome_event_text,
        next_query=urlencode(form.entries | {"page_token": token}) if token else "",
    )


def show_what_if(request: Request, client: Client) -> Response:
    """Show the form of a market's model; with an amount, the assessment as known and with other values. Record nothing."""
    form = Form(request)
    market, customer, amount, values = (
        form.text("market"),
        form.text("customer"),
        form.amount("amount"),
        form.values("set."),
    )
    facts, locale, product = form.values("fact."), form.text("locale"), form.text("product")
    form.check()
    model = _serving_model(request, client, market) if market else None
    sections = client.get_policy(market=market, product=product).sections if market else ()
    answer = None
    if market and customer and amount is not None:
        answer = client.simulate_credit(
            market,
            customer,
            amount,
            features=values,
            product=product,
            facts=facts,
            locale=locale,
            counterfactuals=True,
        )
    return render_page(
        request,
        "what_if.html",
        "What if",
        form=form,
        model=model,
        facts=_facts(sections, model),
        answer=answer,
        drawings=_draw_both(client, answer, model) if answer else [],
        sliders=feature_sliders(model.features, answer.known) if model and answer else {},
        known=_known_texts(model, answer.known) if model and answer else {},
        category=model_pb2.FEATURE_KIND_CATEGORY,
    )


def show_application(request: Request, client: Client) -> Response:
    """Show the form of an applicant: the fields that the market's model and policy ask the caller for."""
    return _show_application(request, client, Form(request), {})


def apply_for_credit(request: Request, client: Client) -> Response:
    """Request a decision, which the server records, and show it. The form's request_id makes a second click harmless."""
    form = Form(request)
    amount = form.amount("amount")
    problems = form.problems | {name: "is required" for name in ("market", "customer", "amount") if not form.text(name)}
    if problems or amount is None or form.text("step") != "decide":
        return _show_application(request, client, form, problems)
    try:
        decision = client.score_credit(
            form.text("market"),
            form.text("customer"),
            amount,
            features=form.values("set."),
            product=form.text("product"),
            facts=form.values("fact."),
            locale=form.text("locale"),
            request_id=form.text("request_id") or None,
        )
    except CallFailed as error:
        if not error.problems:
            raise
        return _show_application(
            request, client, form, {_field_name(each.field): each.problem for each in error.problems}
        )
    return RedirectResponse(f"/decisions/{decision.record_ref.decision_id}", 303)


def _show_application(request: Request, client: Client, form: Form, problems: Mapping[str, str]) -> Response:
    """Return the page with an applicant's form. Features that only the store provides are not asked for."""
    market = form.text("market")
    model = _serving_model(request, client, market) if market else None
    sections = client.get_policy(market=market, product=form.text("product")).sections if market else ()
    asked = [each for each in model.features if each.source != model_pb2.FEATURE_SOURCE_STORE] if model else []
    return render_page(
        request,
        "application.html",
        "Request a decision",
        status=HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
        form=form,
        problems=problems,
        market=market,
        features=asked,
        mandatory={each.name for each in asked if each.mandatory and each.source == model_pb2.FEATURE_SOURCE_CALLER},
        facts=_facts(sections, model),
        category=model_pb2.FEATURE_KIND_CATEGORY,
        request_id=form.text("request_id") or str(uuid.uuid4()),
    )


def _field_name(path: str) -> str:
    """Return the field of the form to which a field of the request belongs, such as set.turnover for features["turnover"]."""
    names = {"customer": "customer", "requested_amount": "amount", "features": "set.", "facts": "fact."}
    first, _, key = path.partition("[")
    first = first.partition(".")[0]
    return names.get(first, first) + key.partition("]")[0].strip('"')


def _draw_both(
    client: Client, answer: credit_pb2.SimulateCreditResponse, form_model: model_pb2.Model | None
) -> list[Markup | None]:
    """Return the waterfalls of both assessments, each with the feature descriptions of the model that computed it."""
    models = {form_model.summary.bundle_id: form_model} if form_model else {}
    drawings = []
    for assessment in (answer.known, answer.simulated):
        bundle_id = assessment.model_output.bundle_id
        # Another bundle may have begun to serve the market after `form_model` was read.
        drawings.append(_draw(assessment, models.get(bundle_id) or client.find_model(bundle_id)))
    return drawings


def _draw(assessment: credit_pb2.CreditAssessment, model: model_pb2.Model | None) -> Markup | None:
    """Return the waterfall of an assessment; None if there is no score."""
    if not assessment.HasField("explanation"):
        return None
    return credit_waterfall(assessment, {each.name: each for each in model.features} if model else {})


def _known_texts(model: model_pb2.Model, known: credit_pb2.CreditAssessment) -> dict[str, str]:
    """Return the customer's known values with their units by feature name; empty if the customer is not scorable."""
    units = {each.name: each.unit for each in model.features}
    return {
        line.feature: value_text(line.value, units.get(line.feature, "")) for line in known.explanation.contributions
    }


def _serving_model(request: Request, client: Client, market: str) -> model_pb2.Model | None:
    """Return the credit model that serves a market now; None if there is none, or it has left the catalog since it was listed.

    Raises:
        CallFailed: The model cannot be read now, so nothing is known about what it asks the caller for.
    """
    for each in listed_models(request):
        if each.family == "credit" and market in each.serving_markets:
            try:
                return client.get_model(each.bundle_id)
            except CallFailed as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
    return None


def _facts(sections: Iterable[credit_pb2.PolicySection], model: model_pb2.Model | None) -> list[str]:
    """Return the names of the facts that the rules of the policy in force ask the caller for."""
    features = {each.name for each in model.features} if model else set()
    return sorted({rule.fact for section in sections if section.in_force for rule in section.hard_rules} - features)
