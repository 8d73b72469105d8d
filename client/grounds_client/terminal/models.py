"""Terminal output of the model catalog."""

from collections.abc import Sequence

from rich.console import Console

from grounds.model.v1 import model_pb2
from grounds_client.formatting import BUNDLE_ID_SHOWN, enum_name, number_text
from grounds_client.terminal.console import add_row, make_table, print_line, print_text


def show_models(console: Console, models: Sequence[model_pb2.ModelSummary]) -> None:
    """Print the catalog, one line per bundle."""
    table = make_table()
    for title in ("family", "bundle", "state", "serves", "may serve", "why rejected"):
        table.add_column(title)
    for model in models:
        state = enum_name(model_pb2.ModelState, model.state)
        serving, markets = ", ".join(model.serving_markets), ", ".join(model.markets)
        add_row(table, model.family, model.bundle_id[:BUNDLE_ID_SHOWN], state, serving, markets, model.refusal)
    console.print(table)


def show_model(console: Console, model: model_pb2.Model) -> None:
    """Print one bundle: its card, its features and its full id."""
    print_text(console, model.card)
    table = make_table()
    for title in ("feature", "unit", "min", "max", "source", "sign", "description"):
        table.add_column(title)
    for feature in model.features:
        low = number_text(feature.min) if feature.HasField("min") else ""
        high = number_text(feature.max) if feature.HasField("max") else ""
        source = enum_name(model_pb2.FeatureSource, feature.source)
        sign = {1: "+", -1: "-"}.get(feature.monotone_sign, "")
        name = feature.name + (" *" if feature.mandatory else "")
        add_row(table, name, feature.unit, low, high, source, sign, feature.description)
    console.print(table)
    print_line(console, "* mandatory: a customer without this value cannot be scored", style="dim")
    print_line(console, f"bundle {model.summary.bundle_id}", style="dim")
