"""`activate` and `deactivate`: select the bundle that serves a market."""

from typing import Annotated

import typer

from server.commands.new_files import warn_missing_bundles
from server.commands.options import Config
from server.commands.output import print_line
from server.config import read_settings


def activate(
    bundle: Annotated[
        str,
        typer.Argument(metavar="BUNDLE_ID", help="The bundle_id, or an unambiguous prefix of 8 or more characters."),
    ],
    market: Annotated[
        list[str] | None,
        typer.Option(
            help="A market of the bundle. Repeat the option for several markets. Default: every market of the bundle.",
            metavar="XX",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Verify a bundle and make it serve its markets. To roll back, activate the previous bundle again."""
    from models.catalog import activate as activate_bundle  # the import loads ONNX Runtime, which is slow
    from models.catalog import find_bundle
    from server.registry.bundle_signatures import BundleSignatures

    settings = read_settings(config)
    warn_missing_bundles(settings)
    BundleSignatures(settings.bundle_keys).check(find_bundle(settings.bundles, bundle))
    activated, markets = activate_bundle(settings.bundles, bundle, tuple(market or ()))
    print_line(f"{activated.manifest.family} {activated.bundle_id[:12]} serves {', '.join(markets)}")


def deactivate(
    market: Annotated[list[str], typer.Argument(metavar="XX...", help="The markets to stop serving.")],
    family: Annotated[str, typer.Option(help="The model family.")] = "credit",
    config: Config = None,
) -> None:
    """Stop serving markets. A market whose line is only missing from ACTIVE.toml keeps its bundle."""
    from models.catalog import deactivate as deactivate_markets  # the import loads ONNX Runtime, which is slow

    settings = read_settings(config)
    warn_missing_bundles(settings)
    deactivate_markets(settings.bundles, family, tuple(market))
    print_line(f"{family} serves {', '.join(market)} no longer")
