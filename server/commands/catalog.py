"""`activate`: choose which bundle serves."""

from typing import Annotated

import typer

from server.commands.new_files import warn_missing_bundles
from server.commands.options import Config
from server.config import read_settings


def activate(
    bundle: Annotated[
        str,
        typer.Argument(metavar="BUNDLE_ID", help="The bundle_id, or an unambiguous prefix of 8 or more characters."),
    ],
    market: Annotated[
        list[str] | None,
        typer.Option(help="A market, repeatable; default: every market of the bundle.", metavar="XX"),
    ] = None,
    config: Config = None,
) -> None:
    """Serve a bundle after verifying it. Activate the previous bundle again to roll back."""
    from models.catalog import activate as activate_bundle  # imports ONNX Runtime

    settings = read_settings(config)
    warn_missing_bundles(settings)
    activated, markets = activate_bundle(settings.bundles, bundle, tuple(market or ()))
    typer.echo(f"{activated.manifest.family} {activated.bundle_id[:12]} serves {', '.join(markets)}")
