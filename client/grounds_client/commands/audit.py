"""Commands for auditors: list and sample decisions, read evidence, replay."""

import datetime as dt
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer

from grounds.audit.v1 import evidence_pb2, sample_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.client import DEFAULT_PAGE_SIZE
from grounds_client.commands.connection import connect
from grounds_client.commands.evidence_subject import resolve_subject
from grounds_client.commands.options import Address, AsJson, AsJsonLines, Locale
from grounds_client.commands.output import print_json, print_json_lines, print_message
from grounds_client.commands.parsers import check_market, parse_choice, resolve_bundle_id
from grounds_client.commands.record_log import parse_key_option
from grounds_client.evidence.checks import describe_key
from grounds_client.evidence.verdicts import verdict_holds
from grounds_client.formatting import enum_name
from grounds_client.terminal.audit import (
    show_activations,
    show_checks,
    show_decisions,
    show_refusals,
    show_replay,
    show_sample,
)
from grounds_client.terminal.console import make_console
from grounds_record.note import parse_verifier_key
from grounds_record.private_files import replace_file

_MODES = ("VERIFY", "FEATURES", "SCORE", "EXPLANATION")
_STRATUM_KEYS = ("MARKET", "DECISION", "GRADE")
_Subject = Annotated[
    list[str],
    typer.Argument(
        metavar="DECISION_ID | RUN MARKET CUSTOMER",
        help="A decision by its full id; or a customer of a churn run. RUN is the run_id, or the first 8 or more characters "
        "of the run_id of a market's newest run.",
    ),
]
_Purpose = Annotated[
    str, typer.Option(help="Why you read the evidence. The server records this text; do not identify a customer in it.")
]
_Key = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        help="The log's public key, or a file that contains it. Default: the key that the server reports, which proves only "
        "that the server agrees with itself.",
    ),
]
_Market = Annotated[str, typer.Option(help="Country, two uppercase letters.", callback=check_market)]
_Bundle = Annotated[str, typer.Option(help="The bundle_id, or its first 8 or more characters.")]
_Decision = Annotated[str, typer.Option("--decision", help="APPROVE, APPROVE_REDUCED, REFER, DECLINE or NOT_SCORABLE.")]
_Grade = Annotated[str, typer.Option(help="The grade, such as B.")]
_Caller = Annotated[str, typer.Option(help="The system that requested the decision.")]
_From = Annotated[dt.datetime | None, typer.Option("--from", help="Decided at or after this time, UTC.")]
_To = Annotated[dt.datetime | None, typer.Option("--to", help="Decided before this time, UTC.")]


def evidence(
    about: _Subject,
    purpose: _Purpose,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page to print and read.")] = None,
    key: _Key = "",
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Read everything recorded about a decision, or about a customer's churn risk in a run; check its proof, and replay it.

    The server records the reading. The exit status is 1 if a check fails or the replay differs.

    With --json, standard output has the evidence only; checks and verdicts go to standard error.
    """
    given_key = parse_key_option(key) if key else None
    with connect(address) as client:
        subject = resolve_subject(client, about)
        pack = subject.read(client, purpose, locale)
        verdicts = subject.replay(client, purpose, [], "")
    verifier_key = given_key or parse_verifier_key(pack.verifier_key)
    checks = subject.check(pack, verifier_key, given=given_key is not None)
    if html is not None:
        key_text = describe_key(verifier_key, given=given_key is not None)
        page = subject.render(pack, verdicts, checks, purpose=purpose, key=key_text)
        with replace_file(html) as temporary:
            temporary.write_text(page, encoding="utf-8")
        print_message(f"{html}: the evidence of {subject.description}", err=as_json)
    if as_json:
        print_json(pack)
    elif html is None:
        subject.show(make_console(), pack)
    show_checks(make_console(stderr=as_json), checks, given=given_key is not None)
    show_replay(make_console(stderr=as_json), verdicts)
    if not all(check.holds for check in checks) or not all(map(verdict_holds, verdicts.results)):
        raise typer.Exit(1)


def replay(
    about: _Subject,
    purpose: _Purpose,
    mode: Annotated[list[str] | None, typer.Option(help=f"{', '.join(_MODES)}; repeatable. Default: all.")] = None,
    what_if: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE_ID",
            help="Show the result of this other bundle: its id, or its first 8 or more characters. The result is not evidence.",
        ),
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Recompute a decision or a churn risk with its own model, and compare. The exit status is 1 if a result differs.

    For a churn risk, the default is all modes except FEATURES, because only the training machine has the transactions.
    """
    names = [f"REPLAY_MODE_{parse_choice(each, _MODES, '--mode')}" for each in mode or ()]
    names += ["REPLAY_MODE_WHAT_IF"] if what_if else []
    modes = [cast("evidence_pb2.ReplayMode", evidence_pb2.ReplayMode.Value(name)) for name in names]
    with connect(address) as client:
        bundle_id = resolve_bundle_id(client, what_if, "--what-if") if what_if else ""
        verdicts = resolve_subject(client, about).replay(client, purpose, modes, bundle_id)
    if as_json:
        print_json(verdicts)
    else:
        show_replay(make_console(), verdicts)
    if not all(map(verdict_holds, verdicts.results)):
        raise typer.Exit(1)


def decisions(
    market: _Market = "",
    bundle: _Bundle = "",
    decision: _Decision = "",
    grade: _Grade = "",
    caller: _Caller = "",
    start: _From = None,
    end: _To = None,
    customer: Annotated[
        str,
        typer.Option(
            help="Only decisions about this customer of --market. The server records the reading; state --purpose."
        ),
    ] = "",
    purpose: Annotated[
        str,
        typer.Option(
            help="With --customer: why you read them. The server records this text; do not identify a customer in it."
        ),
    ] = "",
    count: Annotated[int, typer.Option(help="How many decisions.", min=1)] = 20,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List decisions, newest first, by market, bundle, decision, grade, caller, time and customer."""
    if customer and not (market and purpose):
        raise typer.BadParameter("needs --market and --purpose", param_hint="--customer")
    if purpose and not customer:
        raise typer.BadParameter("is valid only with --customer", param_hint="--purpose")
    chosen = _decision_filter(market=market, decision=decision, grade=grade, caller=caller, start=start, end=end)
    with connect(address) as client:
        chosen.bundle_id = resolve_bundle_id(client, bundle, "--bundle") if bundle else ""
        found = client.list_decisions(
            chosen, customer_id=customer, purpose=purpose, page_size=min(count, DEFAULT_PAGE_SIZE)
        )
        summaries = list(islice(found, count))
    if as_json:
        print_json_lines(summaries)
    else:
        show_decisions(make_console(), summaries)


def activations(
    market: _Market = "",
    family: Annotated[str, typer.Option(help="The model family, such as credit.")] = "",
    at: Annotated[
        dt.datetime | None,
        typer.Option("--at", help="Show only what served at this time, UTC; default: the whole history."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many changes, the newest first.", min=1)] = 100,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List which bundle served which market and which policy was in force, who decided it, when and why."""
    time = at if at is None or at.tzinfo else at.replace(tzinfo=dt.timezone.utc)
    with connect(address) as client:
        size = min(count, DEFAULT_PAGE_SIZE)
        changes = list(islice(client.list_activations(market=market, family=family, at=time, page_size=size), count))
    if as_json:
        print_json_lines(changes)
    else:
        show_activations(make_console(), changes)


def refusals(
    start: Annotated[dt.datetime | None, typer.Option("--from", help="Recorded at or after this time, UTC.")] = None,
    end: Annotated[dt.datetime | None, typer.Option("--to", help="Recorded before this time, UTC.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """Count the calls that the server denied or refused, by caller, method and reason. The server records them once a minute."""
    with connect(address) as client:
        counts = client.count_refused_calls(start, end)
    if as_json:
        print_json_lines(counts)
    else:
        show_refusals(make_console(), counts)


def sample(
    seed: Annotated[str, typer.Option(help="Choose it after the population is fixed.")],
    size: Annotated[int, typer.Option(help="Decisions to draw from each stratum.", min=1, max=1000)] = 25,
    by: Annotated[list[str] | None, typer.Option(help="Stratify by market, decision or grade; repeatable.")] = None,
    tree_size: Annotated[int, typer.Option(help="Number of records of the log to draw from; 0 means all.", min=0)] = 0,
    market: _Market = "",
    bundle: _Bundle = "",
    decision: _Decision = "",
    grade: _Grade = "",
    caller: _Caller = "",
    start: _From = None,
    end: _To = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Draw a sample of decisions that the same seed and tree size reproduce."""
    chosen = _decision_filter(market=market, decision=decision, grade=grade, caller=caller, start=start, end=end)
    keys = [f"STRATUM_KEY_{parse_choice(each, _STRATUM_KEYS, '--by')}" for each in by or ()]
    with connect(address) as client:
        chosen.bundle_id = resolve_bundle_id(client, bundle, "--bundle") if bundle else ""
        drawn = client.sample_decisions(
            seed,
            size=size,
            stratify_by=[cast("sample_pb2.StratumKey", sample_pb2.StratumKey.Value(key)) for key in keys],
            tree_size=tree_size,
            decision_filter=chosen,
        )
    if as_json:
        print_json(drawn)
    else:
        show_sample(make_console(), drawn, seed)


def _decision_filter(
    *,
    market: str,
    decision: str,
    grade: str,
    caller: str,
    start: dt.datetime | None,
    end: dt.datetime | None,
) -> sample_pb2.DecisionFilter:
    """Return the filter of the options; "" and None mean all."""
    names = {enum_name(credit_pb2.Decision, number): number for number in credit_pb2.Decision.values() if number}
    chosen = sample_pb2.DecisionFilter(market=market, grade=grade, caller=caller)
    if decision:
        chosen.decision = cast("credit_pb2.Decision", names[parse_choice(decision, list(names), "--decision")])
    if start is not None:
        chosen.start_time.FromDatetime(start)
    if end is not None:
        chosen.end_time.FromDatetime(end)
    return chosen
