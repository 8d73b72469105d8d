"""What an operator types about people: erase a customer, put a legal hold, apply retention. Each shows first what it would do."""

import datetime as dt
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.config import read_settings
from server.errors import ErasureRefused, RequestInvalid

if TYPE_CHECKING:  # a command loads its part only when it runs
    from server.maintenance.erasure import ErasurePlan
    from server.stores.record_log.log import RecordLog

WORDS = re.compile(r"[^\s,;:()'\"]*[^\s,;:()'\".]")  # without what ends or quotes a word
NO_CUSTOMER = "\0"  # in no reason

Market = Annotated[str, typer.Argument(metavar="MARKET", help="Country, two capital letters.")]
Customers = Annotated[list[str], typer.Argument(metavar="CUSTOMER...", help="The customers' numbers.")]
CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's number.")]
Reason = Annotated[
    str, typer.Option(help="Why; recorded for as long as the log lives. Name the case, not the customer.")
]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; without this, only say what would be done.")]
Unknown = Annotated[bool, typer.Option("--unknown", help="Also where nothing is known of the customer yet.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="CONFIG.toml", help="The configuration.")]


def erase(market: Market, customers: Customers, reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Forget customers: destroy their keys, delete their features and their rows in runs, and record it. Cannot be undone."""
    from server.maintenance.erasure import erase_customer as erase_one
    from server.maintenance.erasure import preview_erasure, rewrite_files
    from server.stores.runs.erasure import delete_expired_tombstones
    from server.stores.runs.loading import delete_unfinished_runs, lock_loading

    settings, wanted = read_settings(config), [checked(market, customer) for customer in customers]
    with opened_log(config) as log:
        if not apply:
            for customer in wanted:
                typer.echo(f"{' '.join(customer)}: {told(preview_erasure(log, customer, reason), apply=False)}")
            typer.echo("nothing was done; to do it: --apply")
            return
        with lock_loading(log.database):
            delete_unfinished_runs(log.database)
            with log.database.writing() as connection:
                delete_expired_tombstones(connection, now(), settings.churn_token_days)
            for customer in wanted:  # all of them can be erased, or none is
                preview_erasure(log, customer, reason)
            try:
                for customer in wanted:
                    typer.echo(f"{' '.join(customer)}: {told(erase_one(log, customer, reason, now()), apply=True)}")
            finally:
                rewrite_files(log)
        days = 2 * settings.churn_token_days
        typer.echo(
            "what was erased is deleted, and the tables' files are written anew; where a run had the customer, the number alone "
            f"stays for {days:g} days, so that copies are told; backups and loaded files are yours to delete"
        )


def checked(market: str, customer: str) -> tuple[str, str]:
    """Refuse whom no request and no file can name: a hold on them would protect nobody."""
    from grounds.customer.v1.customer_pb2 import Customer
    from server.edges.validation import validate

    try:
        validate(Customer(market=market, customer_id=customer))
    except RequestInvalid as error:
        raise ErasureRefused(
            f"{market!r} {customer!r} is no customer: a market is two capital letters, "
            "a customer's number 1 to 64 letters, digits and . _ : -"
        ) from error
    return market, customer


def told(plan: "ErasurePlan", *, apply: bool) -> str:
    """Say what an erasure does."""
    if not plan.is_new:
        return "was erased before; " + ("made sure of it" if apply else "this would make sure of it")
    done = "erased" if apply else "would erase"
    return (
        f"{done} {len(plan.present_keys):,} key(s) that open {plan.records:,} records, {plan.feature_rows:,} rows of features, "
        f"{len(plan.run_rows):,} rows in runs"
    )


def hold(market: Market, customer: CustomerId, reason: Reason, unknown: Unknown = False, config: Config = None) -> None:
    """Put a legal hold on a customer: until it is released, nothing recorded about them is erased or removed."""
    from server.maintenance.erasure import check_reason, read_plan
    from server.stores.record_log.holds import place_hold

    check_reason(reason, checked(market, customer))
    with opened_log(config) as log:
        with log.database.reading() as connection:
            plan = read_plan(connection, log, (market, customer))
        if not (plan.is_new or plan.erased_before or unknown):
            raise ErasureRefused(
                f"nothing is known of {market} {customer}: look at the market and the number again; "
                "to hold what will be recorded of this customer: --unknown"
            )
        name = place_hold(log, market, customer, reason, now())
    typer.echo(
        f"{market} {customer}: hold {name}; it covers {plan.records:,} records, {plan.feature_rows:,} rows of features, "
        f"{len(plan.run_rows):,} rows in runs; to release it: python -m server release {name}"
    )


def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD_ID", help="As `hold` printed it.")],
    reason: Reason,
    config: Config = None,
) -> None:
    """Release a legal hold; other holds on the same customer stay."""
    from server.maintenance.erasure import check_reason
    from server.stores.record_log.holds import read_hold_subject, release_hold

    with opened_log(config) as log:
        market, tag = read_hold_subject(log, hold_id.lower())
        # The hold knows its customer by the tag alone; a word of the reason that has this tag is the number.
        named = [word for word in (reason, *WORDS.findall(reason)) if log.customer_tag(market, word) == tag]
        check_reason(reason, (market, named[0] if named else NO_CUSTOMER))
        release_hold(log, hold_id.lower(), reason, now())
    typer.echo(f"hold {hold_id}: released")


def retain(apply: Apply = False, config: Config = None) -> None:
    """Remove the content of records that are older than the retention table keeps them; headers and hashes stay."""
    from rich.progress import Progress

    from server.decisions.retention import read_retention
    from server.maintenance.retention import preview_retention, remove_due_content
    from server.stores.runs.erasure import delete_expired_tombstones

    settings, moment = read_settings(config), now()
    table = read_retention(settings.retention)
    with opened_log(config) as log:
        counted, without = preview_retention(log, table, moment)
        for each in counted:
            line = each.due_line.rule
            kept = f"; {each.held:,} more are under a legal hold" if each.held else ""
            typer.echo(
                f"{line.market:<2} {line.kind}: {each.due:,} from before {each.due_line.before:%Y-%m-%d} "
                f"({line.years} years){kept}"
            )
        for kind, count in sorted(without.items()):
            typer.echo(f"   {kind}: kept for ever, {count:,} records: the table has no line for them")
        due = sum(each.due for each in counted)
        if not apply:
            typer.echo(f"nothing was done; to remove the content of {due:,} records: --apply")
            return
        with log.database.writing() as connection:
            delete_expired_tombstones(connection, moment, settings.churn_token_days)
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("records", total=due)
            done = 0
            for count in remove_due_content(log, table, moment):
                done += count
                progress.update(task, completed=done)
        typer.echo(f"removed the content of {done:,} records; table {table.document.version}")


@contextmanager
def opened_log(config: Path | None) -> "Iterator[RecordLog]":
    """Open the log."""
    from server.stores.database import Database
    from server.stores.record_log.opening import KeyLocations, open_log

    settings = read_settings(config)
    database = Database(settings.database)
    try:
        database.migrate()
        log = open_log(database, KeyLocations.from_settings(settings))
        try:
            yield log
        finally:
            log.close()
    finally:
        database.close()


def now() -> dt.datetime:
    """Give the time."""
    return dt.datetime.now(dt.UTC)
