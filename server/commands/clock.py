"""`confirm-clock`: record that the clock is right. The command changes data only with --apply."""

import datetime as dt
from typing import Annotated

import typer

from server.commands.options import Apply, Config, Reason, open_record_log
from server.commands.output import print_line
from server.config import read_settings

Today = Annotated[
    dt.datetime,
    typer.Option(formats=["%Y-%m-%d"], help="The date of today in UTC, from a source other than this machine."),
]


def confirm_clock(today: Today, reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Record that the clock is right although the newest record contradicts it, because the log was idle or the clock was wrong.

    The server and the other commands then accept the clock again. `verify` reports every record whose time is out of
    order.
    """
    from server.maintenance.clock import check_date
    from server.maintenance.clock import confirm_clock as confirm
    from server.maintenance.erasure import check_reason
    from server.stores.clock import Clock

    clock = Clock()
    check_date(clock, today.date())
    check_reason(reason, None)
    with open_record_log(read_settings(config)) as log:
        if apply:
            confirm(log, reason, clock)
    print_line(
        f"the clock is confirmed: {clock.now():%Y-%m-%d %H:%M} UTC" if apply else "nothing was changed; add --apply"
    )
