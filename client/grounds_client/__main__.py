"""python -m client: what a person at the loan desk or in the CRM types."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from grounds.model.v1 import model_pb2
from grounds_client.amounts import amount_of
from grounds_client.audit_commands import decisions, evidence, replay, sample
from grounds_client.calls import About, Client, Value
from grounds_client.churn_commands import churn
from grounds_client.connection import ADDRESS
from grounds_client.desk import outcome, override, show_history
from grounds_client.errors import CallFailed, PullRefused
from grounds_client.export_log import export_log
from grounds_client.options import Address, AsJson, CustomerId, Locale, Market, console, say_json
from grounds_client.show import show_decision, show_model, show_models, show_simulation
from grounds_client.verify import verify
from grounds_record.errors import RecordError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Ask the server: credit scores with their reasons, what-ifs, churn risks, models. Verify its log.",
)
app.add_typer(churn, name="churn")
app.command(name="export-log", epilog="Example: python -m client export-log today.log --checkpoint kept.txt")(
    export_log
)
app.command(epilog="Example: python -m client verify today.log --key grounds.pub --checkpoint kept.txt")(verify)
app.command(epilog="Example: python -m client decisions --market TW --decision DECLINE --from 2026-01-01")(decisions)
app.command(epilog="Example: python -m client sample --seed 27182818 --size 25 --by decision")(sample)
app.command(
    epilog='Example: python -m client evidence DECISION_ID --purpose "Annual review 2026, case 17" --html case-17.html'
)(evidence)
app.command(
    epilog='Example: python -m client replay DECISION_ID --purpose "Annual review 2026, case 17", or RUN US 1022 --purpose ...'
)(replay)
app.command(
    epilog="Example: python -m client override DECISION_ID decline --reason FRAUD_SUSPECTED --user u17 "
    "--role CREDIT_MANAGER --limit 500000TWD"
)(override)
app.command(epilog="Example: python -m client outcome DECISION_ID dpd --days 31 --on 2026-11-22")(outcome)


def values_of(texts: Sequence[str]) -> dict[str, Value]:
    """Read values such as PAY_0=2; what is no number, or stands in quotes, is a level."""
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE, such as PAY_0=2")
        if len(value) > 1 and value[0] == value[-1] == '"':
            values[name] = value[1:-1]
            continue
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = value
    return values


Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Such as 120000TWD.")]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A feature's value; repeatable. In double quotes it is a level, also of digits: --set 'SECTOR=\"7\"'.",
    ),
]
Product = Annotated[str, typer.Option(help="The product, as the policy names it.")]
Facts = Annotated[
    list[str] | None,
    typer.Option("--fact", metavar="NAME=VALUE", help="What a policy rule asks for; repeatable."),
]


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
        history = client.get_credit_decision(decision_id)
        found = history.credit_decision
        if not say_json(as_json, [found, *history.overrides, *history.outcomes]):
            show_decision(console(), found, model_of(client, found.assessment.model_output.bundle_id))
            show_history(console(), history)


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


def main() -> int:
    """Run a command; a refused call is said in sentences, with exit status 1."""
    try:
        app(standalone_mode=True)
    except PullRefused as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
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
