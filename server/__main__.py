"""python -m server: what an operator types."""

import asyncio
import datetime as dt
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from grounds_record.errors import RecordError
from models.catalog import activate as activate_bundle
from models.errors import ModelError
from server.application_log import configure_logging
from server.commands.customer_data import erase, hold, release, retain
from server.config import ConfigRefused, read_settings
from server.errors import (
    DatabaseRefused,
    ErasureRefused,
    LoadRefused,
    LogRefused,
    PolicyRefused,
    RecordDamaged,
    RetentionRefused,
    StoreUnavailable,
)


class ServeByDefault(TyperGroup):
    """Takes `python -m server [CONFIG.toml]` as `python -m server serve [CONFIG.toml]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front where none is named."""
        if not args or (args[0] not in self.commands and not args[0].startswith("-")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ServeByDefault,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Serve credit scores and churn risks. Without a command: serve.",
)
Config = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="The configuration; see server/README.md.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="CONFIG.toml", help="The configuration.")]


@app.command(epilog="Example: GROUNDS_PORT=0 python -m server serve")
def serve(config: Config = None) -> None:
    """Serve until SIGTERM: verify the active bundles, listen on loopback, drain at the end."""
    from server.application import serve as serve_until_stopped

    configure_logging()
    asyncio.run(serve_until_stopped(read_settings(config)))


@app.command(epilog="Example: python -m server load files/credit.features.parquet files/churn.run.parquet")
def load(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Feature and run files.")],
    config: ConfigOption = None,
) -> None:
    """Load feature and run files: each is checked wholly before anything of it is shown. Killed, type it again."""
    from server.load.files import load_file  # pyarrow: the serving process does without
    from server.stores.database import Database
    from server.stores.record_log.opening import KeyLocations
    from server.stores.runs.loading import RunRetention

    settings = read_settings(config)
    database = Database(settings.database)
    database.migrate()
    for path in files:
        done = load_file(
            database,
            path,
            dt.datetime.now(dt.UTC),
            KeyLocations.from_settings(settings),
            RunRetention.from_settings(settings),
        )
        erased = f", {done.erased:,} left out: erased since" if done.erased else ""
        typer.echo(
            f"{path}: {done.family} {done.kind}: {done.added:,} added, {done.known:,} were there already{erased}"
        )
    database.close()


@app.command(epilog="Example: python -m server activate 4c7ab9fd86a1 --market TW")
def activate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE_ID", help="At least 8 characters of the bundle_id.")],
    market: Annotated[list[str] | None, typer.Option(help="Where; default: all it may serve.", metavar="XX")] = None,
    config: ConfigOption = None,
) -> None:
    """Make a bundle serve, after it has proved itself. Activating the former one again rolls back."""
    done, markets = activate_bundle(read_settings(config).bundles, bundle, tuple(market or ()))
    typer.echo(f"{done.manifest.family} {done.bundle_id[:12]} serves {', '.join(markets)}")


@app.command(epilog="Example: python -m server doctor CONFIG.toml")
def doctor(config: Config = None) -> None:
    """Check the whole database: records, tree, head, kept checkpoints; keys that are gone; runs; what old decisions need."""
    from server.maintenance.accounts import find_key_and_run_problems
    from server.maintenance.doctor import check_log, read_verifier_key
    from server.stores.catalog.artifacts import missing_artifacts
    from server.stores.catalog.bundle_cache import BundleCache
    from server.stores.database import Database
    from server.stores.record_log.opening import KeyLocations

    settings = read_settings(config)
    database = Database(settings.database)
    database.migrate()
    holds, sentences = check_log(database, read_verifier_key(settings), settings.anchor_folder)
    problems = [
        *find_key_and_run_problems(database, KeyLocations.from_settings(settings)),
        *missing_artifacts(database, BundleCache(settings.bundles, "credit")),
    ]
    database.close()
    for sentence in (*sentences, *problems):
        typer.echo(sentence)
    if problems or not holds:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m server public-key > grounds.pub")
def public_key(config: Config = None) -> None:
    """Print the log's public key: give it to auditors by a way that the server does not control."""
    from server.maintenance.doctor import read_verifier_key

    typer.echo(read_verifier_key(read_settings(config)).text())


app.command(epilog="Example: python -m server erase TW 188 --reason 'request 2026-114' --apply")(erase)
app.command(epilog="Example: python -m server hold TW 188 --reason 'lawsuit 7 O 42/26'")(hold)
app.command(epilog="Example: python -m server release 4f0c2b8e-0b0f-4a43-9d6f-1f2c3d4e5f60 --reason 'settled'")(release)
app.command(epilog="Example: python -m server retain")(retain)


def main() -> int:
    """Run a command; what can be mended is said in a sentence, with exit status 1."""
    from server.application import PortInUse

    try:
        app(standalone_mode=True)
    except (
        *(ConfigRefused, DatabaseRefused, ErasureRefused, LoadRefused, LogRefused, ModelError, PolicyRefused),
        *(PortInUse, RecordDamaged, RecordError, RetentionRefused, StoreUnavailable),
    ) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
