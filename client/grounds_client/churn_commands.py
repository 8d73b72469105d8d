"""python -m client churn: what a person in the CRM types, and its nightly job."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.text import Text

from grounds.churn.v1 import churn_pb2
from grounds_client.calls import Client
from grounds_client.churn_calls import Which
from grounds_client.connection import ADDRESS
from grounds_client.errors import PullRefused
from grounds_client.options import Address, AsJson, CustomerId, Locale, Market, console, say_json
from grounds_client.show_churn import show_risk, show_risks

VALUE_MAX = 1e15  # hundredths of it are exact
churn = typer.Typer(no_args_is_help=True, help="Churn risks: the customers most at risk, or one of them.")


@churn.command(epilog="Example: python -m client churn top US --count 10 --by value")
def top(
    market: Market,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 10,
    by: Annotated[str, typer.Option(help="probability or value (at risk).")] = "probability",
    bands: Annotated[
        list[str] | None, typer.Option("--band", help="LOW, MEDIUM, HIGH or CRITICAL; repeatable.")
    ] = None,
    value_min: Annotated[
        float | None, typer.Option(help="Only with at least this at risk, such as 99.50.", min=0, max=VALUE_MAX)
    ] = None,
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
    chosen = bands_of(bands or [])
    which = Which(orders[by], chosen, None if value_min is None else round(value_min * 100))
    with Client(address) as client:
        listed = client.list_churn_risks(market, which=which, page_size=min(count, 1000), locale=locale)
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


@churn.command(epilog="Example: python -m client churn pull US --to risks.parquet")
def pull(
    market: Annotated[
        str, typer.Argument(metavar="[MARKET]", help="Country; may be left out where there is one.")
    ] = "",
    to: Annotated[Path, typer.Option(metavar="FILE", help="risks.parquet or risks.csv.")] = Path("risks.parquet"),
    state: Annotated[Path | None, typer.Option(metavar="FILE", help="Where it is; default: FILE.state.json.")] = None,
    locale: Locale = "",
    address: Address = ADDRESS,
) -> None:
    """Keep a file in step with a market: whole at first, then what changed. Stopped anywhere, it goes on."""
    from grounds_client.pull import Pull  # pyarrow: no other command needs it

    if to.suffix not in {".parquet", ".csv"}:
        raise typer.BadParameter("--to takes a file that ends in .parquet or .csv")
    state = state or to.with_name(to.name + ".state.json")
    with Client(address) as client, progress() as say:
        market = market or only_market(client)
        done = Pull(client, to, state, say).run(market, locale)
    changed = f"{done.changed:,} changed, {done.removed:,} removed since the file was made"
    typer.echo(f"{to}: {done.customers:,} customers of {market}, run {done.run_id}; {changed}")


def only_market(client: Client) -> str:
    """Give the market that has a run, where there is one."""
    markets = [run.market for run in client.list_churn_runs()]
    if len(markets) != 1:
        told = f"the server has runs for {', '.join(markets)}; name one" if markets else "the server has no churn run"
        raise PullRefused(told)
    return markets[0]


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give what says how far it is: in place on a terminal, as lines elsewhere."""
    paper = Console(stderr=True, highlight=False)
    if not paper.is_terminal:
        yield lambda line: typer.echo(line, err=True)
        return
    with paper.status("ask the server") as status:
        yield lambda line: status.update(Text(line))


def bands_of(names: Sequence[str]) -> list[churn_pb2.RiskBand]:
    """Read risk bands."""
    known = {name.removeprefix("RISK_BAND_"): band for name, band in churn_pb2.RiskBand.items() if band}
    if wrong := [name for name in names if name not in known]:
        raise typer.BadParameter(f"--band takes {', '.join(known)}, not {', '.join(wrong)}")
    return [cast("churn_pb2.RiskBand", known[name]) for name in dict.fromkeys(names)]
