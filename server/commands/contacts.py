"""`contacts`: export the recorded contacts with customers of scoring runs."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import Config, Market, Purpose, open_record_log
from server.commands.output import print_line
from server.config import read_settings

_From = Annotated[dt.datetime, typer.Option("--from", help="Contacted at or after this time, UTC.")]
_Until = Annotated[dt.datetime, typer.Option("--until", help="Contacted before this time, UTC.")]
_To = Annotated[Path, typer.Option("--to", metavar="FILE.csv", help="Write the contacts to this file.")]


def contacts(
    start: _From,
    end: _Until,
    purpose: Purpose,
    to: _To = Path("contacts.csv"),
    market: Market = "",
    config: Config = None,
) -> None:
    """Export the contacts that callers have recorded with RecordContact, to measure the effect of a campaign.

    Corrected contacts are left out. The record log records once that you read the window, with your account and the
    purpose.
    """
    from server.maintenance.contact_export import read_contacts, write_contacts
    from server.maintenance.erasure import check_reason
    from server.registry.change_origin import operator_account
    from server.stores.clock import utc_now
    from server.stores.record_log.decision_index import DecisionQuery

    settings = read_settings(config)
    check_reason(purpose, None, "--purpose")
    window = DecisionQuery(start=_as_utc(start), end=_as_utc(end), market=market)
    if _as_utc(end) <= _as_utc(start):
        raise typer.BadParameter("--until must be after --from")
    with open_record_log(settings) as log:
        found = read_contacts(log, window, purpose=purpose, operator=operator_account(), at=utc_now())
    write_contacts(to, found.contacts)
    left_out = [
        f"{count:,} {what}"
        for what, count in (("corrected", found.corrected), ("that did not take place", found.cancelled))
        if count
    ]
    unread = [f"{count:,} ({reason})" for reason, count in sorted(found.unread.items())]
    print_line(f"{to}: {len(found.contacts):,} contacts")
    if left_out:
        print_line(f"left out: {', '.join(left_out)}")
    if unread:
        print_line(f"not read: {', '.join(unread)}")


def _as_utc(time: dt.datetime) -> dt.datetime:
    """Return a time with a time zone. A time without one is in UTC."""
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
