"""`retain`: apply the retention table. The command changes data only with --apply."""

import sys

import typer

from server.commands.options import Apply, Config, current_time, open_record_log
from server.config import read_settings


def retain(apply: Apply = False, config: Config = None) -> None:
    """Remove the content of records that are older than the retention table allows.

    Headers and hashes remain, so the log still verifies.
    """
    from rich.progress import Progress

    from server.decisions.retention import read_retention
    from server.maintenance.retention import preview_retention, remove_due_content
    from server.stores.runs.erasure import delete_expired_tombstones

    settings, now = read_settings(config), current_time()
    table = read_retention(settings.retention)
    with open_record_log(settings) as log:
        counts, kinds_without_line = preview_retention(log, table, now)
        for count in counts:
            line = count.due_line.rule
            on_hold = f"; {count.on_hold:,} more are under a legal hold" if count.on_hold else ""
            typer.echo(
                f"{line.market:<2} {line.kind}: {count.due:,} from before {count.due_line.before:%Y-%m-%d} "
                f"({line.years} years){on_hold}"
            )
        for kind, records in sorted(kinds_without_line.items()):
            typer.echo(f"   {kind}: {records:,} records are never removed because the table has no line for this kind")
        due = sum(count.due for count in counts)
        if not apply:
            typer.echo(f"nothing was changed; to remove the content of {due:,} records, add --apply")
            return
        with log.database.writing() as connection:
            delete_expired_tombstones(connection, now, settings.churn_token_days)
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("records", total=due)
            removed = 0
            for batch in remove_due_content(log, table, now):
                removed += batch
                progress.update(task, completed=removed)
    typer.echo(f"removed the content of {removed:,} records; table {table.document.version}")
