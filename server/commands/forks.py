"""`adopt-fork`: accept a database that has lost records. Changes nothing without --apply."""

import typer

from server.commands.options import Apply, Config, Reason, current_time, open_record_log
from server.config import read_settings


def adopt_fork(reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Accept a database that lacks records which the high-water mark or an anchor proves, and record that they are lost.

    Restore the newest backup first. Stop every server of the database.
    """
    from server.maintenance.forks import adopt_fork as adopt
    from server.maintenance.forks import find_lost_range

    with open_record_log(read_settings(config)) as log:
        lost = adopt(log, reason, current_time()) if apply else find_lost_range(log)
    first, last = lost.start - 1, lost.stop - 2
    typer.echo(
        f"records {first:,} to {last:,} {'are given up' if apply else 'would be given up'}: lost, or others stand in their place"
    )
    if not apply:
        typer.echo("nothing was changed; to go on with the database as it is, add --apply")
