"""What an auditor types at the server: list decisions, draw a sample of them, read evidence, replay."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from grounds.audit.v1 import evidence_pb2, sample_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.calls import Client
from grounds_client.connection import ADDRESS
from grounds_client.evidence_desks import desk_of
from grounds_client.evidence_parts import Told
from grounds_client.options import Address, AsJson, Locale, console, say_json
from grounds_client.proof import key_told
from grounds_client.show_audit import show_checks, show_decisions, show_replay, show_sample
from grounds_client.verdicts import holds
from grounds_client.verify import verifier_of
from grounds_record.note import parse_verifier_key

MODES = ("VERIFY", "FEATURES", "SCORE", "EXPLANATION")
STRATA = ("MARKET", "DECISION", "GRADE")
About = Annotated[
    list[str],
    typer.Argument(metavar="DECISION_ID | RUN MARKET CUSTOMER", help="A decision, or a customer of a churn run."),
]
Purpose = Annotated[str, typer.Option(help="Why you read it; recorded in the log. Name no customer.")]
Key = Annotated[str, typer.Option(metavar="KEY", help="The log's public key, or a file that holds it.")]
Market = Annotated[str, typer.Option(help="Country, two capital letters.")]
Bundle = Annotated[str, typer.Option(help="bundle_id, 64 digits.")]
Outcome = Annotated[str, typer.Option("--decision", help="APPROVE, APPROVE_REDUCED, REFER, DECLINE or NOT_SCORABLE.")]
Grade = Annotated[str, typer.Option(help="Such as B.")]
Caller = Annotated[str, typer.Option(help="The system that asked.")]
From = Annotated[dt.datetime | None, typer.Option("--from", help="Decided at or after it, UTC.")]
To = Annotated[dt.datetime | None, typer.Option("--to", help="Decided before it, UTC.")]


def evidence(
    about: About,
    purpose: Purpose,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one page, to print and read.")] = None,
    key: Key = "",
    locale: Locale = "",
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Read everything about a decision, or about a customer's churn risk in a run, check its proof, and replay it.

    The reading is recorded.
    """
    desk = desk_of(about)
    given = verifier_of(key) if key else None
    with Client(address) as client:
        found = desk.evidence(client, purpose, locale)
        replayed = desk.replay(client, purpose, [], "")
    used = given or parse_verifier_key(found.verifier_key)
    checked = desk.checks(found, used)
    if html is not None:
        told = Told(purpose, key_told(used, given=given is not None))
        html.write_text(desk.page(found, replayed, checked, told), encoding="utf-8")
        typer.echo(f"{html}: the evidence of {desk.name}", err=as_json)
    if not say_json(as_json, [found]) and html is None:
        desk.show(console(), found)
    show_checks(console(stderr=as_json), checked, given=given is not None)
    show_replay(console(stderr=as_json), replayed)
    if not all(check.holds for check in checked) or not all(holds(result) for result in replayed.results):
        raise typer.Exit(1)


def replay(
    about: About,
    purpose: Purpose,
    mode: Annotated[list[str] | None, typer.Option(help=f"{', '.join(MODES)}; repeatable. Default: all.")] = None,
    what_if: Annotated[str, typer.Option(metavar="BUNDLE_ID", help="What another bundle would say. No evidence.")] = "",
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Compute a decision or a churn risk again by what made it, and compare. Exit status 1 where it differs.

    Of a churn risk the default is all but FEATURES, which are made where the transactions are.
    """
    chosen = [f"REPLAY_MODE_{one_of(each, MODES, '--mode')}" for each in mode or ()]
    chosen += ["REPLAY_MODE_WHAT_IF"] if what_if else []
    modes: list[evidence_pb2.ReplayMode] = [evidence_pb2.ReplayMode.Value(name) for name in chosen]  # type: ignore[misc]
    desk = desk_of(about)
    with Client(address) as client:
        found = desk.replay(client, purpose, modes, what_if)
    if not say_json(as_json, [found]):
        show_replay(console(), found)
    if not all(holds(result) for result in found.results):
        raise typer.Exit(1)


def decisions(
    market: Market = "",
    bundle: Bundle = "",
    decision: Outcome = "",
    grade: Grade = "",
    caller: Caller = "",
    start: From = None,
    end: To = None,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 20,
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List decisions, newest first, by market, bundle, outcome, grade, caller and time."""
    condition = filter_of(market, bundle, decision, grade, caller, (start, end))
    with Client(address) as client:
        listed = client.list_decisions(condition, page_size=min(count, 1000))
        found = [each for each, _ in zip(listed, range(count), strict=False)]
    if not say_json(as_json, found):
        show_decisions(console(), found)


def sample(
    seed: Annotated[str, typer.Option(help="Chosen by you after the population is fixed.")],
    size: Annotated[int, typer.Option(help="Decisions to draw from each stratum.", min=1, max=1000)] = 25,
    by: Annotated[list[str] | None, typer.Option(help="market, decision or grade makes a stratum; repeatable.")] = None,
    tree_size: Annotated[int, typer.Option(help="Records of the log to draw from; 0: all.", min=0)] = 0,
    market: Market = "",
    bundle: Bundle = "",
    decision: Outcome = "",
    grade: Grade = "",
    caller: Caller = "",
    start: From = None,
    end: To = None,
    address: Address = ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Draw a sample that anybody can draw again with the same seed and tree size."""
    request = sample_pb2.SampleDecisionsRequest(
        filter=filter_of(market, bundle, decision, grade, caller, (start, end)),
        seed=seed,
        size=size,
        tree_size=tree_size,
        stratify_by=[f"STRATUM_KEY_{one_of(each, STRATA, '--by')}" for each in by or ()],
    )
    with Client(address) as client:
        found = client.sample_decisions(request)
    if not say_json(as_json, [found]):
        show_sample(console(), found, seed)


def filter_of(
    market: str,
    bundle: str,
    decision: str,
    grade: str,
    caller: str,
    between: tuple[dt.datetime | None, dt.datetime | None],
) -> sample_pb2.DecisionFilter:
    """Write a filter."""
    known = [name.removeprefix("DECISION_") for name in credit_pb2.Decision.keys()[1:]]
    wanted = f"DECISION_{one_of(decision, known, '--decision')}" if decision else None
    found = sample_pb2.DecisionFilter(market=market, bundle_id=bundle, decision=wanted, grade=grade, caller=caller)
    for name, time in zip(("start_time", "end_time"), between, strict=True):
        if time is not None:
            getattr(found, name).FromDatetime(time)
    return found


def one_of(text: str, allowed: list[str] | tuple[str, ...], option: str) -> str:
    """Read one of some names, in small letters or in capitals."""
    if text.upper() not in allowed:
        raise typer.BadParameter(f"{option} takes {', '.join(allowed)}")
    return text.upper()
