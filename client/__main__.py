"""python -m client: what a person at the loan desk or in the CRM types."""

import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console

from client.amounts import amount_of
from client.calls import About, Client, Value
from client.connection import ADDRESS
from client.desk import outcome, override, show_history
from client.errors import CallFailed
from client.events import read_history
from client.export_log import export_log
from client.show import show_decision, show_model, show_models, show_risk, show_risks, show_simulation
from client.verify import verify
from grounds.churn.v1 import churn_pb2
from grounds.model.v1 import model_pb2
from record.errors import RecordError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Ask the server: credit scores with their reasons, what-ifs, churn risks, models. Verify its log.",
)
churn = typer.Typer(no_args_is_help=True, help="Churn risks: the customers most at risk, or one of them.")
app.add_typer(churn, name="churn")
app.command(name="export-log", epilog="Example: python -m client export-log today.log --checkpoint kept.txt")(
    export_log
)
app.command(epilog="Example: python -m client verify today.log --key grounds.pub --checkpoint kept.txt")(verify)
app.command(
    epilog="Example: python -m client override DECISION_ID decline --reason FRAUD_SUSPECTED --user u17 "
    "--role CREDIT_MANAGER --limit 500000TWD"
)(override)
app.command(epilog="Example: python -m client outcome DECISION_ID dpd --days 31 --on 2026-11-22")(outcome)
PLAIN_WIDTH = 120


def values_of(texts: Sequence[str]) -> dict[str, Value]:
    """Read values such as PAY_0=2; what is no number is a level."""
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE, such as PAY_0=2")
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = value
    return values


Market = Annotated[str, typer.Argument(metavar="MARKET", help="Country, two capital letters.")]
CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's number.")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Such as 120000TWD.")]
Given = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A feature's value; repeatable.")]
Address = Annotated[str, typer.Option(help="The server.", envvar="GROUNDS_ADDRESS")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: the answer as JSON.")]
Product = Annotated[str, typer.Option(help="The product, as the policy names it.")]
Facts = Annotated[
    list[str] | None,
    typer.Option("--fact", metavar="NAME=VALUE", help="What a policy rule asks for; repeatable."),
]
Locale = Annotated[str, typer.Option(help="Language of the reasons, such as de.")]


@app.command(epilog="Example: python -m client score TW 26 120000TWD")
def score(
    market: Market,
    customer: CustomerId,
    amount: Amount,
    given: Given = None,
    request_id: Annotated[str | None, typer.Option(help="UUID; the same one gets the same answer.")] = None,
    product: Product = "",
    facts: Facts = None,
    locale: Locale = "",
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Ask for a credit decision; it is kept."""
    with Client(address) as client:
        about = About(product, values_of(facts or []), locale)
        decision = client.score_credit(
            (market, customer), amount_of(amount), features=values_of(given or []), request_id=request_id, about=about
        )
        if not say_json(as_json, [decision]):
            show_decision(console(), decision, model_of(client, decision.assessment.model_output.bundle_id))


@app.command(epilog="Example: python -m client simulate TW 26 120000TWD --set PAY_0=2")
def simulate(
    market: Market,
    customer: CustomerId,
    amount: Amount,
    given: Given = None,
    product: Product = "",
    facts: Facts = None,
    counterfactuals: Annotated[bool, typer.Option("--ways", help="Say what would lead to approval.")] = False,
    locale: Locale = "",
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Ask what would be if some values were others. Decides nothing, keeps nothing."""
    with Client(address) as client:
        about = About(product, values_of(facts or []), locale)
        answer = client.simulate_credit(
            (market, customer),
            amount_of(amount),
            features=values_of(given or []),
            about=about,
            counterfactuals=counterfactuals,
        )
        if not say_json(as_json, [answer]):
            show_simulation(console(), answer, model_of(client, answer.simulated.model_output.bundle_id))


@app.command(epilog="Example: python -m client decision 0b0e3c1e-5f0a-4b7e-9c0e-0f4f5d1b2a3c")
def decision(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID")],
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Read a decision as it was given, whatever model is active today, and what came after it."""
    with Client(address) as client:
        history = read_history(client, decision_id)
        found = history.credit_decision
        if not say_json(as_json, [found, *history.overrides, *history.outcomes]):
            show_decision(console(), found, model_of(client, found.assessment.model_output.bundle_id))
            show_history(console(), history)


@churn.command(epilog="Example: python -m client churn top US --count 10 --by value")
def top(
    market: Market,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 10,
    by: Annotated[str, typer.Option(help="probability or value (at risk).")] = "probability",
    locale: Locale = "",
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the customers most at risk, with what is at stake and why."""
    orders = {
        "probability": churn_pb2.CHURN_RISK_ORDER_PROBABILITY,
        "value": churn_pb2.CHURN_RISK_ORDER_VALUE_AT_RISK,
    }
    if by not in orders:
        raise typer.BadParameter("--by takes probability or value")
    with Client(address) as client:
        listed = client.list_churn_risks(market, order=orders[by], page_size=min(count, 1000), locale=locale)
        risks = list(islice(listed, count))
    if not say_json(as_json, risks):
        show_risks(console(), risks)


@churn.command(name="show", epilog="Example: python -m client churn show US 1022")
def show_one(
    market: Market, customer: CustomerId, locale: Locale = "", address: Address = ADDRESS, as_json: AsJson = False
) -> None:
    """Show one customer's risk, and how it adds up."""
    with Client(address) as client:
        risk = client.get_churn_risk((market, customer), locale=locale)
    if not say_json(as_json, [risk]):
        show_risk(console(), risk)


@app.command(epilog="Example: python -m client models")
def models(
    bundle_id: Annotated[str | None, typer.Argument(metavar="[BUNDLE_ID]", help="Show this one in full.")] = None,
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the bundles, refused ones with the reason; or show one: its card and what may be sent."""
    with Client(address) as client:
        listed = client.list_models()
        if bundle_id is None:
            if not say_json(as_json, listed):
                show_models(console(), listed)
            return
        full = [summary.bundle_id for summary in listed if summary.bundle_id.startswith(bundle_id)]
        model = client.get_model(full[0] if len(full) == 1 else bundle_id)
    if not say_json(as_json, [model]):
        show_model(console(), model)


def model_of(client: Client, bundle_id: str) -> model_pb2.Model | None:
    """Read the bundle that answered, for the names of its features; an old one may be gone."""
    if not bundle_id:
        return None
    try:
        return client.get_model(bundle_id)
    except CallFailed:
        return None


def say_json(as_json: bool, messages: Iterable[Message]) -> bool:
    """Print messages as JSON, one document a message, if asked to."""
    if as_json:
        for message in messages:
            typer.echo(MessageToJson(message, preserving_proto_field_name=True))
    return as_json


def console() -> Console:
    """Give a console: as wide as the terminal, or of one width where there is none."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(width=PLAIN_WIDTH, highlight=False)


def main() -> int:
    """Run a command; a refused call is said in sentences, with exit status 1."""
    try:
        app(standalone_mode=True)
    except CallFailed as error:
        sys.stderr.write(f"error: {error}\n")
        for problem in error.problems:
            sys.stderr.write(f"  {problem.field}: {problem.problem}\n")
        return 1
    except (OSError, RecordError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
