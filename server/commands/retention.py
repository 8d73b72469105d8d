"""`retain`: apply the retention table. The command changes data only with --apply."""

import sys
from typing import Annotated

import typer

from server.commands.options import Apply, Config, checked_clock, open_record_log
from server.commands.output import print_line
from server.config import read_settings

Confirmed = Annotated[
    int | None,
    typer.Option("--confirm-records", help="The exact number of records to remove, if they are a large share.", min=1),
]


def retain(apply: Apply = False, confirm_records: Confirmed = None, config: Config = None) -> None:
    """Remove the content of records that are older than the retention table allows.

    Headers and hashes remain, so the log still verifies. The command refuses to change data if the clock may be wrong,
    and asks for a second confirmation if it would remove a large share of the records.
    """
    from rich.progress import Progress

    from server.decisions.retention import read_retention
    from server.maintenance.retention import check_share, preview_retention, remove_due_content
    from server.stores.runs.erasure import delete_expired_tombstones

    settings = read_settings(config)
    table = read_retention(settings.retention)
    with open_record_log(settings) as log:
        clock = checked_clock(log.database, settings, removes=True)
        now = clock.now()
        counts, kinds_without_line = preview_retention(log, table, now)
        for count in counts:
            line = count.due_line.rule
            on_hold = f"; {count.on_hold:,} more are under a legal hold" if count.on_hold else ""
            print_line(
                f"{line.market:<2} {line.kind}: {count.due:,} from before {count.due_line.before:%Y-%m-%d} "
                f"({line.years} years){on_hold}"
            )
        for kind, records in sorted(kinds_without_line.items()):
            print_line(f"   {kind}: {records:,} records are never removed because the table has no line for this kind")
        due = sum(count.due for count in counts)
        if not apply:
            print_line(f"nothing was changed; to remove the content of {due:,} records, add --apply")
            return
        check_share(counts, confirm_records)
        with log.database.writing() as connection:
            delete_expired_tombstones(connection, now, settings.churn_token_days)
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("records", total=due)
            removed = 0
            for batch in remove_due_content(log, table, now, clock=clock):
                removed += batch
                progress.update(task, completed=removed)
    print_line(f"removed the content of {removed:,} records; table {table.document.version}")
