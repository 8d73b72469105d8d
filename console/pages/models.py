"""The pages of models and of the policy."""

from starlette.requests import Request
from starlette.responses import Response

from console.connections import listed_models
from console.pages.form import Form
from console.rendering import render_page
from grounds.model.v1 import model_pb2
from grounds_client import Client
from grounds_client.formatting import enum_name, number_text

_METRICS = ("hold_out.", "out_of_time.")  # what a validator reads first; the report of the bundle has all metrics


def list_models(request: Request, _client: Client) -> Response:
    """Show the bundles of the catalog."""
    models = listed_models(request)
    states = {each.bundle_id: enum_name(model_pb2.ModelState, each.state) for each in models}
    return render_page(request, "models.html", "Models", models=models, states=states)


def show_model(request: Request, client: Client) -> Response:
    """Show one bundle: its card, its figures, its features and its scorecard."""
    model = client.get_model(request.path_params["bundle_id"])
    metrics = [
        (name, number_text(number)) for name, number in sorted(model.metrics.items()) if name.startswith(_METRICS)
    ]
    sources = {each.name: enum_name(model_pb2.FeatureSource, each.source).lower() for each in model.features}
    title = f"Model {model.summary.family} {model.summary.bundle_id[:12]}"
    return render_page(request, "model.html", title, model=model, metrics=metrics, sources=sources)


def show_policy(request: Request, client: Client) -> Response:
    """Show the sections of the policy that are in force or begin later."""
    form = Form(request)
    policy = client.get_policy(market=form.text("market"), product=form.text("product"), locale=form.text("locale"))
    return render_page(request, "policy.html", "Policy", form=form, policy=policy)
