"""The CRM's pages: scoring runs, the customers most at risk, and one customer's prediction with its evidence."""

import datetime as dt
from itertools import chain, islice

from starlette.requests import Request
from starlette.responses import Response

from console.field_table import field_table
from console.log_key import choose_log_key
from console.pages.form import Form
from console.pages.home import COMPARISON
from console.pages.papers import note_churn_reading
from console.purpose import require_purpose
from console.rendering import render_page, render_parts
from grounds.churn.v1 import churn_pb2
from grounds_client import Client
from grounds_client.evidence.checks import check_churn_evidence
from grounds_client.evidence.churn_page import churn_parts
from grounds_client.evidence.waterfall import churn_waterfall
from grounds_client.formatting import band_name, enum_name

_CUSTOMERS = 50
_CUSTOMERS_MAX = 1000


def list_runs(request: Request, client: Client) -> Response:
    """Show the newest scoring run of every market and family."""
    return render_page(
        request, "runs.html", "Churn: newest runs", runs=client.list_churn_runs(), now=dt.datetime.now(dt.UTC)
    )


def list_customers(request: Request, client: Client) -> Response:
    """Show the customers of a market who are most at risk."""
    form, market = Form(request), request.path_params["market"]
    band, order = form.choice("band", churn_pb2.RiskBand), form.choice("order", churn_pb2.ChurnRiskOrder)
    count, locale = form.number("count", _CUSTOMERS, _CUSTOMERS_MAX), form.text("locale")
    family = form.text("family")
    form.check()
    risks = client.list_churn_risks(
        market,
        order=order or churn_pb2.CHURN_RISK_ORDER_PROBABILITY,
        risk_bands=[band] if band else [],
        page_size=count,
        locale=locale,
        family=family,
    )
    shown = list(islice(risks, count))
    return render_page(
        request,
        "customers.html",
        f"Churn: customers of {market} most at risk",
        form=form,
        market=market,
        family=family,
        risks=shown,
        run=_find_run(client, shown[0]) if shown else None,
        now=dt.datetime.now(dt.UTC),
        count=count,
        bands=[enum_name(churn_pb2.RiskBand, number) for number in churn_pb2.RiskBand.values() if number],
        orders=[enum_name(churn_pb2.ChurnRiskOrder, number) for number in churn_pb2.ChurnRiskOrder.values() if number],
    )


def show_customer(request: Request, client: Client) -> Response:
    """Show one customer's newest prediction."""
    form, market = Form(request), request.path_params["market"]
    risk = client.get_churn_risk(market, form.text("customer"), locale=form.text("locale"), family=form.text("family"))
    is_scored = risk.status == churn_pb2.CHURN_STATUS_SCORED
    model = client.find_model(risk.bundle_id) if is_scored else None
    described = {each.name: each for each in model.features} if model else {}
    drawing = churn_waterfall(risk.explanation, risk.log_odds, described) if is_scored else None
    return render_page(
        request,
        "customer.html",
        f"Churn risk of customer {market} {risk.customer.customer_id}",
        risk=risk,
        run=_find_run(client, risk),
        now=dt.datetime.now(dt.UTC),
        family=form.text("family"),
        is_scored=is_scored,
        standing=band_name(risk.risk_band) if is_scored else enum_name(churn_pb2.ChurnStatus, risk.status),
        waterfall=drawing,
    )


def _find_run(client: Client, risk: churn_pb2.ChurnRisk) -> churn_pb2.ChurnRun | None:
    """Return the run of a prediction; None if a newer run has replaced it."""
    wanted = (risk.run_id, risk.customer.market)
    return next((run for run in client.list_churn_runs() if (run.run_id, run.market) == wanted), None)


def show_evidence(request: Request, client: Client) -> Response:
    """Show everything that is recorded about one prediction. The server records the reading and its purpose."""
    purpose, form, market = require_purpose(request), Form(request), request.path_params["market"]
    run_id, customer = form.text("run"), form.text("customer")
    evidence = client.get_churn_evidence(run_id, market, customer, purpose, locale=form.text("locale"))
    replay = client.replay_churn_risk(run_id, market, customer, purpose)
    key = choose_log_key(request, evidence.verifier_key)
    checks = check_churn_evidence(evidence, key.key, given=key.is_given)
    parts = churn_parts(evidence, replay, checks, purpose=purpose, key=key.description, comparison=COMPARISON)
    note_churn_reading(request, evidence, purpose)
    title = f"Evidence of the churn risk of customer {market} {customer}"
    return render_parts(request, title, chain(parts, [field_table(evidence)]))
