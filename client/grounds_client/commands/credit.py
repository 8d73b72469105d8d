"""Commands for the loan desk: decisions, what-ifs, overrides and outcomes."""

import datetime as dt
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from grounds.credit.v1 import credit_pb2
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.client import OutcomeEvent
from grounds_client.commands.connection import connect
from grounds_client.commands.options import (
    Address,
    Amount,
    AsJson,
    AsJsonLines,
    CustomerId,
    DecisionId,
    Locale,
    Market,
    OptionalAmount,
    RequestId,
)
from grounds_client.commands.output import print_json, print_json_lines, print_message
from grounds_client.commands.parsers import check_market, parse_amount, parse_choice, parse_values
from grounds_client.commands.score_file import score_file
from grounds_client.formatting import outcome_text, override_text
from grounds_client.money import Amount as AmountOfMoney
from grounds_client.terminal.console import make_console
from grounds_client.terminal.credit import (
    show_customer_decisions,
    show_decision,
    show_history,
    show_policy,
    show_simulation,
)

_DECISIONS = {
    "approve": credit_pb2.DECISION_APPROVE,
    "reduce": credit_pb2.DECISION_APPROVE_REDUCED,
    "decline": credit_pb2.DECISION_DECLINE,
}
_EVENT_OPTIONS = {"booked": "--amount", "dpd": "--days", "default": "--trigger", "cure": None}
_FeatureValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A feature's value; repeatable. A value in double quotes is a level, even if it is a number: "
        "--set 'SECTOR=\"7\"'.",
    ),
]
_Facts = Annotated[
    list[str] | None,
    typer.Option("--fact", metavar="NAME=VALUE", help="A fact that the policy's rules ask for; repeatable."),
]
_Product = Annotated[str, typer.Option(help="The name of the product in the policy.")]


def score(
    market: Market = "",
    customer: CustomerId = "",
    amount: OptionalAmount = None,
    features: _FeatureValues = None,
    request_id: RequestId = None,
    product: _Product = "",
    facts: _Facts = None,
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
    applications: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A CSV file with the columns market, customer_id and amount, and if needed request_id, product, locale, "
            "features.NAME and facts.NAME. Each row is decided and recorded on its own.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --from: the CSV file of the answers. An interrupted run continues."),
    ] = None,
) -> None:
    """Request a credit decision, or one for each row of a file. The server records every decision."""
    if applications is not None or to is not None:
        alone = {"MARKET": market, "--set": features, "--fact": facts, "--request-id": request_id, "--json": as_json}
        if unused := [name for name, given in alone.items() if given]:
            raise typer.BadParameter(f"{', '.join(unused)} cannot be combined with --from; use the columns of the file")
        if applications is None or to is None:
            raise typer.BadParameter("specify both --from and --to, or neither")
        score_file(applications, to, product=product, locale=locale, address=address)
        return
    if not market or not customer or amount is None:
        raise typer.BadParameter("specify MARKET, CUSTOMER and AMOUNT, such as TW 26 120000TWD, or --from and --to")
    with connect(address) as client:
        decision = client.score_credit(
            market,
            customer,
            amount,
            features=parse_values(features or [], "--set"),
            product=product,
            facts=parse_values(facts or [], "--fact"),
            locale=locale,
            request_id=request_id,
        )
        if as_json:
            print_json(decision)
        else:
            model = client.find_model(decision.assessment.model_output.bundle_id)
            show_decision(make_console(), decision, model)


def simulate(
    market: Market,
    customer: CustomerId,
    amount: Amount,
    features: _FeatureValues = None,
    product: _Product = "",
    facts: _Facts = None,
    counterfactuals: Annotated[bool, typer.Option("--ways", help="Search for changes that lead to approval.")] = False,
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show the result with other feature values. Nothing is decided or recorded."""
    with connect(address) as client:
        simulation = client.simulate_credit(
            market,
            customer,
            amount,
            features=parse_values(features or [], "--set"),
            product=product,
            facts=parse_values(facts or [], "--fact"),
            locale=locale,
            counterfactuals=counterfactuals,
        )
        if as_json:
            print_json(simulation)
        else:
            model = client.find_model(simulation.simulated.model_output.bundle_id)
            show_simulation(make_console(), simulation, model)


def decision(decision_id: DecisionId, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show a decision as it was made, with the overrides and outcomes recorded since."""
    with connect(address) as client:
        history = client.get_credit_decision(decision_id)
        if as_json:
            print_json(history)
            return
        model = client.find_model(history.credit_decision.assessment.model_output.bundle_id)
        show_decision(make_console(), history.credit_decision, model)
        show_history(make_console(), history)


def history(
    market: Market,
    customer: CustomerId,
    count: Annotated[int, typer.Option(help="How many decisions.", min=1)] = 20,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List the decisions about one customer, newest first, each with the override in force and the newest outcome."""
    with connect(address) as client:
        decisions = list(islice(client.list_customer_decisions(market, customer, page_size=min(count, 100)), count))
    if as_json:
        print_json_lines(decisions)
    else:
        show_customer_decisions(make_console(), decisions)


def override(
    decision_id: DecisionId,
    what: Annotated[str, typer.Argument(metavar="approve|reduce|decline", help="The new decision.")],
    reason: Annotated[str, typer.Option(help="A reason code of the policy, such as NEW_INFORMATION.")],
    user: Annotated[str, typer.Option(help="The person who decides.")],
    role: Annotated[str, typer.Option(help="The person's role, such as CREDIT_MANAGER.")],
    limit: Annotated[
        AmountOfMoney,
        typer.Option(
            metavar="AMOUNT", help="The most that this person may grant, such as 500000TWD.", parser=parse_amount
        ),
    ],
    amount: Annotated[
        AmountOfMoney | None,
        typer.Option(metavar="AMOUNT", help="The granted amount; only with reduce.", parser=parse_amount),
    ] = None,
    second_user: Annotated[str, typer.Option(help="The second person, if the policy requires one.")] = "",
    comment: Annotated[str, typer.Option(help="Free text.")] = "",
    locale: Annotated[str, typer.Option(help="Language of the reason, such as de.")] = "",
    request_id: RequestId = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record that a person replaces the policy's decision, or decides a case that the policy referred."""
    name = parse_choice(what, list(_DECISIONS), "approve|reduce|decline")
    with connect(address) as client:
        recorded = client.record_override(
            decision_id,
            _DECISIONS[name],
            reason_code=reason,
            user_id=user,
            user_role=role,
            authority_limit=limit,
            granted_amount=amount,
            second_user_id=second_user,
            comment=comment,
            locale=locale,
            request_id=request_id,
        )
    if as_json:
        print_json(recorded)
    else:
        print_message(override_text(recorded))


def outcome(
    decision_id: DecisionId,
    what: Annotated[str, typer.Argument(metavar="booked|dpd|default|cure", help="What happened.")],
    on: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="The day on which it happened.")],
    amount: Annotated[
        AmountOfMoney | None,
        typer.Option(metavar="AMOUNT", help="With booked: the amount, such as 120000TWD.", parser=parse_amount),
    ] = None,
    days: Annotated[int | None, typer.Option(help="With dpd: days past due.")] = None,
    trigger: Annotated[
        str | None, typer.Option(help="With default: the definition of default that was met, such as DPD_90.")
    ] = None,
    corrects: Annotated[str, typer.Option(help="The outcome_id that this outcome replaces.")] = "",
    request_id: RequestId = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record what happened to a loan after the decision. To correct an outcome, record a new one with --corrects."""
    event = _outcome_event(what, amount=amount, days=days, trigger=trigger)
    with connect(address) as client:
        recorded = client.record_outcome(
            decision_id, on.date(), event, corrects_outcome_id=corrects, request_id=request_id
        )
    if as_json:
        print_json(recorded)
    else:
        print_message(outcome_text(recorded))


def policy(
    market: Annotated[
        str, typer.Option(metavar="MARKET", help="Only this country, such as TW.", callback=check_market)
    ] = "",
    product: Annotated[str, typer.Option(help="Only the product with this name in the policy.")] = "",
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show what the policy accepts: markets, products, limits, facts, and reasons of overrides."""
    with connect(address) as client:
        response = client.get_policy(market=market, product=product, locale=locale)
    if as_json:
        print_json(response)
    else:
        show_policy(make_console(), response)


def _outcome_event(what: str, *, amount: AmountOfMoney | None, days: int | None, trigger: str | None) -> OutcomeEvent:
    """Return the event. Each kind of event requires its own option and rejects the options of other kinds."""
    name = parse_choice(what, list(_EVENT_OPTIONS), "booked|dpd|default|cure")
    options = {"--amount": amount, "--days": days, "--trigger": trigger}
    given = [option for option, value in options.items() if value is not None]
    required = _EVENT_OPTIONS[name]
    if given != ([required] if required else []):
        rule = f"requires {required} and no other" if required else "allows none"
        raise typer.BadParameter(f"{name} {rule} of --amount, --days and --trigger, such as: dpd --days 31")
    if amount is not None:
        return credit_pb2.Booked(amount=amount.to_money())
    if days is not None:
        return credit_pb2.DaysPastDue(days=days)
    return credit_pb2.Cure() if trigger is None else credit_pb2.Default(trigger_code=trigger)
