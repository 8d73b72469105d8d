"""`adopt-fork`: accept a database that has lost records. The command changes data only with --apply."""

import typer

from server.commands.options import Apply, Config, Reason, current_time, open_record_log
from server.config import read_settings


def adopt_fork(reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Accept a database that lacks records which the high-water mark or an anchor proves, and record the loss.

    Before that, stop every server of the database, and try to restore the newest backup.
    """
    from server.maintenance.forks import adopt_fork as adopt
    from server.maintenance.forks import find_lost_range

    with open_record_log(read_settings(config)) as log:
        lost = adopt(log, reason, current_time()) if apply else find_lost_range(log)
    first, last = lost.start - 1, lost.stop - 2
    typer.echo(
        f"records {first:,} to {last:,} {'are given up' if apply else 'would be given up'}: they are missing, or were replaced"
    )
    if not apply:
        typer.echo("nothing was changed; to accept the present database, add --apply")
