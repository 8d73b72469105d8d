"""`backup` and `restore`: copy the SQLite databases of a server."""

from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import Config, command_line, open_record_log
from server.commands.output import print_line
from server.config import read_settings

_Records = Annotated[Path, typer.Argument(metavar="RECORDS", help="File with the backup of the records.")]
_Keys = Annotated[
    Path, typer.Argument(metavar="KEYS", help="File with the backup of the customers' keys, in a different folder.")
]


def backup(records: _Records, keys: _Keys, config: Config = None) -> None:
    """Copy both databases to new files while servers run. Store the two files apart.

    The key files, the high-water mark and the erasure list are not copied; no backup of the databases may contain them.
    """
    from server.maintenance.backup import back_up

    size = back_up(read_settings(config), records, keys)
    print_line(f"backed up {size:,} records to {records}, and the customers' keys to {keys}; store the two files apart")


def restore(records: _Records, keys: _Keys, config: Config = None) -> None:
    """Copy both backups to the configured paths, and report which records are missing. No file is overwritten.

    The exit status is 4 if the high-water mark or an anchor proves that records are missing.
    """
    from server.errors import ForkRefused
    from server.maintenance.backup import restore as restore_databases
    from server.maintenance.forks import find_lost_range

    settings = read_settings(config)
    size = restore_databases(settings, records, keys)
    print_line(f"restored {size:,} records")
    with open_record_log(settings) as log:
        try:
            lost = find_lost_range(log)
        except ForkRefused:
            print_line("the high-water mark and the anchors prove no missing record; start the server")
            return
    # A checkpoint outside the database covers `lost.stop - 1` records.
    if size < lost.stop - 1:
        print_line(f"records {size:,} to {lost.stop - 2:,} are missing from this backup")
    else:
        print_line(f"records of this backup differ from those that were acknowledged, up to record {lost.stop - 2:,}")
    print_line("the server will record nothing; restore a newer backup or, if there is none, run:")
    print_line(f"  {command_line('adopt-fork', '--reason', 'why the records are lost', '--apply', config=config)}")
    raise typer.Exit(4)
