"""`public-key`, and `keys`: create, rotate and show the keys of the record log."""

from enum import StrEnum
from typing import Annotated

import typer

from server.commands.options import Config, PositionalConfig, Reason, open_record_log, single_config
from server.commands.output import print_line
from server.config import read_settings

keys = typer.Typer(
    no_args_is_help=True, help="Create, rotate and show the keys: signing key, master key and page-token key."
)


class _Rotated(StrEnum):
    """The keys that can be rotated."""

    SIGNING = "signing"
    MASTER = "master"
    PAGE_TOKENS = "page-tokens"


def public_key(positional: PositionalConfig = None, config: Config = None) -> None:
    """Print the record log's public key. Deliver the key to auditors out of band, by a channel the server cannot influence."""
    from server.maintenance.doctor import read_verifier_key

    print_line(read_verifier_key(read_settings(single_config(config, positional))).text())


@keys.command(epilog="Example: python -m server keys init --config CONFIG.toml")
def init(config: Config = None) -> None:
    """Create the signing key and the master key of a new log, and print the public key. Existing keys stay."""
    from server.stores.keys.places import open_place

    settings = read_settings(config)
    signing, master = open_place(settings.signing_key), open_place(settings.master_key)
    for kind, place in (("signing key", signing), ("master key", master)):
        print_line(f"{kind} {place.description}: {'exists' if place.exists() else 'created'}")
    signing.create_signer(settings.log_origin)
    master.create_master()
    master.read_master()
    print_line(f"public key: {signing.read_signer(settings.log_origin).verifier().text()}")
    print_line("next: back up both keys in different places, and deliver the public key to auditors out of band")


@keys.command(epilog="Example: python -m server keys rotate signing --reason 'yearly rotation 2026'")
def rotate(
    key: Annotated[_Rotated, typer.Argument(help="The key to replace.")],
    reason: Reason,
    revoke: Annotated[
        bool,
        typer.Option("--revoke", help="For page-tokens: tokens of older keys become invalid instead of expiring."),
    ] = False,
    config: Config = None,
) -> None:
    """Replace a key by a new one. Servers keep running. If the command was interrupted, run it again.

    Before the first rotation, upgrade every server of the log to this release.
    """
    from server.maintenance.erasure import check_reason
    from server.maintenance.keys import rotate_master_key, rotate_signing_key
    from server.stores.clock import utc_now
    from server.stores.keys.places import open_place
    from server.stores.token_keys import PageTokenKeys

    if revoke and key is not _Rotated.PAGE_TOKENS:
        raise typer.BadParameter("applies only to page-tokens", param_hint="--revoke")
    check_reason(reason, None)
    settings = read_settings(config)
    with open_record_log(settings) as log:
        if key is _Rotated.PAGE_TOKENS:
            since = PageTokenKeys(log.database, utc_now).rotate(settings.churn_token_days, revoke=revoke)
            older = "are invalid now" if revoke else f"stay valid for {settings.churn_token_days:g} days"
            print_line(f"a new key signs page tokens from {since:%Y-%m-%d %H:%M:%S} UTC; tokens of older keys {older}")
            return
        place = open_place(settings.signing_key if key is _Rotated.SIGNING else settings.master_key)
        if key is _Rotated.SIGNING:
            result = rotate_signing_key(log, place, reason, utc_now())
            print_line(f"public key: {result.key}")
            print_line("next: deliver the public key to auditors out of band; old checkpoints stay valid")
        else:
            result = rotate_master_key(log)
            print_line(f"master key {result.key} encrypts every customer's key; encrypted again: {result.count:,}")
            print_line(
                "next: back up the new master key; keep the old one as long as backups of the key database need it"
            )
        if not result.moved:
            print_line(
                f"this process may not change {place.description}: put the key of {place.successor().description} there, for "
                "example by changing the Kubernetes Secret; servers read both until then"
            )


@keys.command(epilog="Example: python -m server keys status --config CONFIG.toml")
def status(config: Config = None) -> None:
    """Print where the keys are, which of them are in use, and whether a rotation is not finished."""
    from server.maintenance.key_status import key_status

    settings = read_settings(config)
    with open_record_log(settings) as log:
        for line in key_status(log, settings):
            print_line(line)
