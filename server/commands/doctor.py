"""`doctor`: check the whole database."""

import typer

from server.commands.options import Config, PositionalConfig, open_database, single_config
from server.commands.output import print_line
from server.config import read_settings


def doctor(positional: PositionalConfig = None, config: Config = None) -> None:
    """Check the whole database: records, tree, head, checkpoints, keys, runs, and the bundles of old decisions.

    The exit status is 1 if a check fails.
    """
    from server.maintenance.doctor import diagnose

    settings = read_settings(single_config(config, positional))
    with open_database(settings) as database:
        diagnosis = diagnose(database, settings)
    for sentence in diagnosis.sentences:
        print_line(sentence)
    if not diagnosis.healthy:
        raise typer.Exit(1)
