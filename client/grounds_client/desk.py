"""What a person at the loan desk types after a decision: decide otherwise, and tell what became of it."""

import datetime as dt
from typing import Annotated

import typer
from rich.console import Console

from grounds.credit.v1 import credit_pb2 as pb
from grounds_client.amounts import amount_of
from grounds_client.calls import Client, money_of
from grounds_client.connection import ADDRESS
from grounds_client.events import Event, Person, Words, record_outcome, record_override
from grounds_client.options import Address, AsJson, say_json
from grounds_client.show import money, short

DECISIONS = {
    "approve": pb.DECISION_APPROVE,
    "reduce": pb.DECISION_APPROVE_REDUCED,
    "decline": pb.DECISION_DECLINE,
}
SIDES = {
    pb.OVERRIDE_SIDE_HIGH: "less than the policy",
    pb.OVERRIDE_SIDE_LOW: "more than the policy",
    pb.OVERRIDE_SIDE_REFERRAL: "what the policy left to a person",
    pb.OVERRIDE_SIDE_WITHDRAWAL: "back to the policy",
}
DecisionId = Annotated[str, typer.Argument(metavar="DECISION_ID", help="As the decision printed it.")]
RequestId = Annotated[str | None, typer.Option(help="UUID; the same one gets the same answer.")]


def override(
    decision_id: DecisionId,
    what: Annotated[str, typer.Argument(metavar="approve|reduce|decline", help="What is to hold.")],
    reason: Annotated[str, typer.Option(help="A code of the policy, such as NEW_INFORMATION.")],
    user: Annotated[str, typer.Option(help="Who decides.")],
    role: Annotated[str, typer.Option(help="In which role, such as CREDIT_MANAGER.")],
    limit: Annotated[str, typer.Option(help="The most that this person may grant, such as 500000TWD.")],
    amount: Annotated[str | None, typer.Option(help="What is granted; only with reduce.")] = None,
    second_user: Annotated[str, typer.Option(help="Who agrees, where the policy wants a second person.")] = "",
    comment: Annotated[str, typer.Option(help="In words.")] = "",
    locale: Annotated[str, typer.Option(help="Language of the reason, such as de.")] = "",
    request_id: RequestId = None,
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record that a person decides otherwise than the policy, or what the policy left to a person."""
    if what not in DECISIONS:
        raise typer.BadParameter(f"write one of {', '.join(DECISIONS)}, such as decline")
    with Client(address) as client:
        done = record_override(
            client,
            decision_id,
            DECISIONS[what],
            reason,
            Person(user, role, amount_of(limit), second_user),
            granted=None if amount is None else amount_of(amount),
            words=Words(comment, locale),
            request_id=request_id,
        )
    if not say_json(as_json, [done]):
        typer.echo(override_line(done))


def outcome(
    decision_id: DecisionId,
    what: Annotated[str, typer.Argument(metavar="booked|dpd|default|cure", help="What happened.")],
    on: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="The day on which it happened.")],
    amount: Annotated[str | None, typer.Option(help="With booked: how much, such as 120000TWD.")] = None,
    days: Annotated[int | None, typer.Option(help="With dpd: days past due.")] = None,
    trigger: Annotated[str | None, typer.Option(help="With default: by which definition, such as DPD_90.")] = None,
    corrects: Annotated[str, typer.Option(help="The outcome_id that this one corrects.")] = "",
    request_id: RequestId = None,
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record what became of a decision; a correction is another outcome."""
    event = event_of(what, amount, days, trigger)
    with Client(address) as client:
        done = record_outcome(client, decision_id, on.date(), event, corrects=corrects, request_id=request_id)
    if not say_json(as_json, [done]):
        typer.echo(outcome_line(done))


def event_of(what: str, amount: str | None, days: int | None, trigger: str | None) -> Event:
    """Read what happened; what does not belong to it is refused."""
    wanted = {"booked": "--amount", "dpd": "--days", "default": "--trigger", "cure": ""}
    if what not in wanted:
        raise typer.BadParameter(f"write one of {', '.join(wanted)}, such as booked")
    given = [
        name for name, value in (("--amount", amount), ("--days", days), ("--trigger", trigger)) if value is not None
    ]
    if given != [name for name in (wanted[what],) if name]:
        raise typer.BadParameter(f"{what} takes {wanted[what] or 'none of them'}, such as dpd --days 31")
    if amount is not None:
        return pb.Booked(amount=money_of(*amount_of(amount)))
    if days is not None:
        return pb.DaysPastDue(days=days)
    return pb.Cure() if trigger is None else pb.Default(trigger_code=trigger)


def show_history(console: Console, history: pb.GetCreditDecisionResponse) -> None:
    """Show what came after a decision."""
    for each in history.overrides:
        console.print(override_line(each), markup=False, highlight=False)
    for told in history.outcomes:
        console.print(outcome_line(told), markup=False, highlight=False)


def override_line(override: pb.Override) -> str:
    """Say an override in a line."""
    name = short(pb.Decision.Name(override.decision), "DECISION_")
    second = f" and {override.second_user_id}" if override.second_user_id else ""
    comment = f' "{override.comment}"' if override.comment else ""
    return (
        f"override {override.override_id}, {override.override_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC: {name} "
        f"{money(override.granted_amount)} ({SIDES.get(override.side, 'another side')}) by {override.user_id}{second}, "
        f"{override.user_role}: {override.reason_text}{comment}"
    )


def outcome_line(outcome: pb.Outcome) -> str:
    """Say an outcome in a line."""
    event = outcome.WhichOneof("event")
    said = {
        "booked": f"booked {money(outcome.booked.amount)}",
        "days_past_due": f"{outcome.days_past_due.days} days past due",
        "default": f"default, {outcome.default.trigger_code}",
        "cure": "cured",
    }.get(str(event), "something that this client does not know")
    day = outcome.event_date
    corrects = f", corrects {outcome.corrects_outcome_id}" if outcome.corrects_outcome_id else ""
    return f"outcome {outcome.outcome_id}, {day.year:04d}-{day.month:02d}-{day.day:02d}: {said}{corrects}"
