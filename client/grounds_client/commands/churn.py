"""Commands for the CRM: the customers most at risk, one customer, and a local copy of a market."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text

from grounds.churn.v1 import churn_pb2
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.client import DEFAULT_PAGE_SIZE, Client
from grounds_client.commands.connection import connect
from grounds_client.commands.options import Address, AsJson, AsJsonLines, CustomerId, Locale, Market, RequestId
from grounds_client.commands.output import print_json, print_json_lines, print_message
from grounds_client.commands.parsers import check_market, parse_choice
from grounds_client.errors import PullRefused
from grounds_client.formatting import contact_event_text, enum_name, recorded_contact_text
from grounds_client.terminal.churn import show_risk, show_risks
from grounds_client.terminal.console import make_console, print_line
from grounds_record.printable_text import escape_line

_VALUE_MAX = 1e15  # its hundredths fit into the int64 field of the request
_ORDERS = {
    "probability": churn_pb2.CHURN_RISK_ORDER_PROBABILITY,
    "value": churn_pb2.CHURN_RISK_ORDER_VALUE_AT_RISK,
}
_CHANNELS: dict[str, churn_pb2.ContactChannel] = {
    name.removeprefix("CONTACT_CHANNEL_").lower(): churn_pb2.ContactChannel.Value(name)  # type: ignore[misc] # the stubs call it an int
    for name in churn_pb2.ContactChannel.keys()[1:]
}
_FILE_KINDS = (".parquet", ".csv")
_Family = Annotated[
    str, typer.Option(help="Model family; default: churn, or the only family of the market.", metavar="FAMILY")
]
_IncludeWithheld = Annotated[
    bool,
    typer.Option(
        "--include-withheld",
        help="Include withheld customers (the hold-out group and suppressed customers), marked; campaigns must not contact them.",
    ),
]


def top(
    market: Market,
    count: Annotated[int, typer.Option(help="How many customers.", min=1)] = 10,
    by: Annotated[str, typer.Option(help="probability or value (at risk).")] = "probability",
    bands: Annotated[
        list[str] | None, typer.Option("--band", help="LOW, MEDIUM, HIGH or CRITICAL; repeatable.")
    ] = None,
    value_min: Annotated[
        float | None,
        typer.Option(help="Only customers with at least this value at risk, such as 99.50.", min=0, max=_VALUE_MAX),
    ] = None,
    family: _Family = "",
    include_withheld: _IncludeWithheld = False,
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List the customers most at risk, with what is at stake and why. Withheld customers are left out."""
    order = _ORDERS[parse_choice(by, list(_ORDERS), "--by")]
    risk_bands = _parse_bands(bands or [])
    with connect(address) as client:
        predictions = client.list_churn_risks(
            market,
            order=order,
            risk_bands=risk_bands,
            value_at_risk_minor_min=None if value_min is None else round(value_min * 100),
            page_size=min(count, DEFAULT_PAGE_SIZE),
            locale=locale,
            include_withheld=include_withheld,
            family=family,
        )
        risks = list(islice(predictions, count))
    if as_json:
        print_json_lines(risks)
    else:
        show_risks(make_console(), risks)


def show(
    market: Market,
    customer: CustomerId,
    family: _Family = "",
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show one customer's risk, how it adds up, and the run_id that `evidence` and `replay` require."""
    with connect(address) as client:
        risk = client.get_churn_risk(market, customer, locale=locale, family=family)
    if as_json:
        print_json(risk)
        return
    console = make_console()
    show_risk(console, risk)
    print_line(console, f"run {risk.run_id}", style="dim")


def contact(
    market: Market,
    customer: CustomerId,
    by: Annotated[
        str, typer.Option(metavar="CHANNEL", help="phone, email, message, letter, visit, other; none withdraws.")
    ],
    at: Annotated[
        dt.datetime | None, typer.Option(help="When, UTC; default: now.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"])
    ] = None,
    run: Annotated[str, typer.Option(metavar="RUN_ID", help="Default: the run of the customer's newest risk.")] = "",
    campaign: Annotated[str, typer.Option(help="Default: the campaign of the run.")] = "",
    corrects: Annotated[str, typer.Option(help="The contact_id that this contact replaces.")] = "",
    family: _Family = "",
    request_id: RequestId = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record that a customer was contacted, so that the effect of the campaign can be measured.

    To correct a contact, record another one with --corrects.
    """
    channel = _CHANNELS[parse_choice(by, list(_CHANNELS), "--by")]
    if request_id and (at is None or not run):
        raise typer.BadParameter(
            "requires --at and --run, because a repeated call must have the same content as the first",
            param_hint="--request-id",
        )
    time = dt.datetime.now(dt.UTC) if at is None else at.replace(tzinfo=dt.UTC)
    with connect(address) as client:
        run = run or client.get_churn_risk(market, customer, family=family).run_id
        recorded = client.record_contact(
            market,
            customer,
            run,
            channel,
            time,
            campaign=campaign,
            corrects_contact_id=corrects,
            request_id=request_id,
        )
    if as_json:
        print_json(recorded)
    else:
        print_message(contact_event_text(recorded))


def contacts(
    market: Market,
    customer: CustomerId,
    count: Annotated[int, typer.Option(help="How many contacts.", min=1)] = 20,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List the recorded contacts with a customer, newest first, corrected ones included."""
    with connect(address) as client:
        found = list(islice(client.list_contacts(market, customer), count))
    if as_json:
        print_json_lines(found)
        return
    for each in found:
        print_message(recorded_contact_text(each))
    if not found:
        print_message("No contact with this customer is recorded.")


def pull(
    market: Annotated[
        str,
        typer.Argument(
            metavar="MARKET", help="Country; may be omitted if the server has one market.", callback=check_market
        ),
    ] = "",
    to: Annotated[Path, typer.Option(metavar="FILE", help="risks.parquet or risks.csv.")] = Path("risks.parquet"),
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The state of the copy; default: FILE.state.json.")
    ] = None,
    family: _Family = "",
    include_withheld: _IncludeWithheld = False,
    locale: Locale = "",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Create or update a local copy of a market. Only the changes are read after the first pull. An interrupted pull resumes."""
    from grounds_client.pull import MarketPull  # imports pyarrow, which no other command needs

    if to.suffix not in _FILE_KINDS:
        raise typer.BadParameter(f"must end in {' or '.join(_FILE_KINDS)}, got {to}", param_hint="--to")
    state = state or to.with_name(to.name + ".state.json")
    with connect(address) as client, _progress_reporter() as report:
        market = market or _only_market(client)
        result = MarketPull(client, to, state, report).run(
            market, locale, include_withheld=include_withheld, family=family
        )
    changes = f"{result.changed:,} changed, {result.removed:,} removed since the last pull"
    print_message(f"{to}: {result.customers:,} customers of {market}, run {result.run_id}; {changes}")


def _only_market(client: Client) -> str:
    """Return the only market that has a scoring run; raise PullRefused if there is not exactly one."""
    markets = list(dict.fromkeys(run.market for run in client.list_churn_runs()))
    if not markets:
        raise PullRefused("the server has no churn run; load a run, then pull again")
    if len(markets) > 1:
        raise PullRefused(f"the server has runs of {', '.join(markets)}; specify one market")
    return markets[0]


@contextmanager
def _progress_reporter() -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress on standard error; on a terminal, it updates one line."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield lambda line: print_message(line, err=True)
        return
    with console.status("connecting") as status:
        yield lambda line: status.update(Text(escape_line(line)))


def _parse_bands(names: Sequence[str]) -> list[churn_pb2.RiskBand]:
    """Parse risk bands; duplicates are dropped."""
    known = {enum_name(churn_pb2.RiskBand, band): band for band in churn_pb2.RiskBand.values() if band}
    chosen = dict.fromkeys(parse_choice(name, list(known), "--band") for name in names)
    return [cast("churn_pb2.RiskBand", known[name]) for name in chosen]
