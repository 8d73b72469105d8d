"""The loan desk's pages: a decision as it was made, and what other values would lead to."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from console.pages.form import Form
from console.pages.override import find_override_rules
from console.rendering import render_page
from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2
from grounds_client import CallFailed, Client
from grounds_client.evidence.markup import Markup
from grounds_client.evidence.waterfall import credit_waterfall
from grounds_client.formatting import outcome_text, override_text


def show_decision(request: Request, client: Client) -> Response:
    """Show a decision with its reasons, and what was recorded since."""
    found = client.get_credit_decision(request.path_params["decision_id"])
    history = [*map(override_text, found.overrides), *map(outcome_text, found.outcomes)]
    decision = found.credit_decision
    model = client.find_model(decision.assessment.model_output.bundle_id)
    return render_page(
        request,
        "decision.html",
        f"Credit decision {decision.record_ref.decision_id}",
        decision=decision,
        history=history,
        may_override=find_override_rules(client, decision) is not None,
        waterfall=_draw(decision.assessment, model),
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
    model = _serving_model(client, market) if market else None
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
        category=model_pb2.FEATURE_KIND_CATEGORY,
    )


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


def _serving_model(client: Client, market: str) -> model_pb2.Model | None:
    """Return the credit model that serves a market now; None if there is none, or the person may not read it."""
    try:
        for each in client.list_models("credit"):
            if market in each.serving_markets:
                return client.find_model(each.bundle_id)
    except CallFailed:
        return None
    return None


def _facts(sections: Iterable[credit_pb2.PolicySection], model: model_pb2.Model | None) -> list[str]:
    """Return the names of the facts that the rules of the policy in force ask the caller for."""
    features = {each.name for each in model.features} if model else set()
    return sorted({rule.fact for section in sections if section.in_force for rule in section.hard_rules} - features)
