"""`activate`, `deactivate`, `retire` and `approve`: which bundle serves a market, and who decided it."""

from typing import Annotated

import typer

from server.commands.new_files import warn_missing_bundles
from server.commands.options import Config, command_line, open_record_log
from server.commands.output import print_line
from server.config import read_settings

_Bundle = Annotated[
    str,
    typer.Argument(metavar="BUNDLE_ID", help="The bundle_id, or an unambiguous prefix of 8 or more characters."),
]
_Reason = Annotated[str, typer.Option(help="The reason. It is recorded permanently.")]


def activate(
    bundle: _Bundle,
    market: Annotated[
        list[str] | None,
        typer.Option(
            help="A market of the bundle. Repeat the option for several markets. Default: every market of the bundle.",
            metavar="XX",
        ),
    ] = None,
    reason: _Reason = "",
    config: Config = None,
) -> None:
    """Verify a bundle, make it serve its markets, and record who decided this. To roll back, activate the previous bundle again.

    If four_eyes is set, the command only proposes the change, and a second person makes it with `approve`.
    """
    from models.catalog import check_activation, find_bundle  # the import loads ONNX Runtime, which is slow
    from server.registry.bundle_activation import record_activation
    from server.registry.bundle_signatures import BundleSignatures
    from server.registry.change_origin import ChangeOrigin, operator_account
    from server.registry.proposals import propose_activation
    from server.stores.clock import utc_now

    settings, operator = read_settings(config), operator_account()
    _check_reason(reason)
    warn_missing_bundles(settings)
    BundleSignatures(settings.bundle_keys).check(find_bundle(settings.bundles, bundle))
    checked, markets = check_activation(settings.bundles, bundle, tuple(market or ()))
    served = f"{checked.manifest.family} {checked.bundle_id[:12]} serves {', '.join(markets)}"
    origin, changed, proposal_id = ChangeOrigin(operator), list[str](), None
    with open_record_log(settings) as log:
        if settings.four_eyes:
            proposal_id = propose_activation(log, settings.bundles, checked, markets, operator, reason, utc_now())
        else:
            changed = record_activation(
                log, settings.bundles, checked, markets, origin=origin, reason=reason, at=utc_now()
            )
    if proposal_id is not None:
        print_proposal(f"that {served}", proposal_id, config)
    else:
        print_line(served if changed else f"{served} already; nothing was recorded")


def deactivate(
    market: Annotated[list[str], typer.Argument(metavar="XX...", help="The markets to stop serving.")],
    family: Annotated[str, typer.Option(help="The model family.")] = "credit",
    reason: _Reason = "",
    config: Config = None,
) -> None:
    """Stop serving markets, and record who decided this. One person may stop a market, even if four_eyes is set.

    A market can be stopped if it serves according to ACTIVE.toml or according to the record log. A market whose line is only
    missing from ACTIVE.toml keeps its bundle while the server runs.
    """
    from server.registry.bundle_activation import record_deactivation  # the import loads ONNX Runtime, which is slow
    from server.registry.change_origin import ChangeOrigin, operator_account
    from server.stores.clock import utc_now

    settings = read_settings(config)
    _check_reason(reason)
    warn_missing_bundles(settings)
    stopped = list(dict.fromkeys(market))
    with open_record_log(settings) as log:
        origin = ChangeOrigin(operator_account())
        record_deactivation(log, settings.bundles, family, stopped, origin, reason, utc_now())
    print_line(f"{family} serves {', '.join(stopped)} no longer")


def retire(bundle: _Bundle, reason: _Reason = "", config: Config = None) -> None:
    """Record that a bundle cannot be activated again. Its folder stays, so that its decisions can be replayed.

    If four_eyes is set, the command only proposes the change, and a second person makes it with `approve`.
    """
    from models.catalog import find_bundle  # the import loads ONNX Runtime, which is slow
    from server.registry.bundle_activation import record_retirement
    from server.registry.change_origin import ChangeOrigin, operator_account
    from server.registry.proposals import propose_retirement
    from server.stores.clock import utc_now

    settings, operator = read_settings(config), operator_account()
    _check_reason(reason)
    folder = find_bundle(settings.bundles, bundle)
    family, bundle_id = folder.parent.name, folder.name
    proposal_id, is_changed = None, False
    with open_record_log(settings) as log:
        if settings.four_eyes:
            proposal_id = propose_retirement(log, family, bundle_id, operator, reason, utc_now())
        else:
            is_changed = record_retirement(
                log, settings.bundles, family, bundle_id, ChangeOrigin(operator), reason, utc_now()
            )
    if proposal_id is not None:
        print_proposal(f"that {family} {bundle_id[:12]} is retired", proposal_id, config)
    elif is_changed:
        print_line(f"{family} {bundle_id[:12]} is retired; it can be replayed, but not activated")
    else:
        print_line(f"{family} {bundle_id[:12]} was retired already; nothing was changed")


def approve(
    proposal: Annotated[
        str,
        typer.Argument(
            metavar="PROPOSAL_ID",
            help="The id that the proposal printed, or an unambiguous prefix of 8 or more characters.",
        ),
    ],
    config: Config = None,
) -> None:
    """Make a change that another person has proposed with `activate`, `retire` or `activate-policy`.

    Your account on this machine must differ from the account of the proposer.
    """
    from server.registry.bundle_signatures import BundleSignatures
    from server.registry.change_origin import operator_account
    from server.registry.proposals import approve as approve_proposal
    from server.stores.clock import utc_now

    settings = read_settings(config)
    signatures = BundleSignatures(settings.bundle_keys)
    with open_record_log(settings) as log:
        approved = approve_proposal(log, settings.bundles, signatures, proposal, operator_account(), utc_now())
    wanted = approved.proposal
    if wanted.policy_version:
        print_line(f"policy {wanted.policy_version} ({wanted.digest[:12]}) is in force; proposed by {wanted.operator}")
    elif approved.markets:
        markets = ", ".join(approved.markets)
        print_line(f"{wanted.family} {wanted.digest[:12]} serves {markets}; proposed by {wanted.operator}")
    else:
        print_line(f"{wanted.family} {wanted.digest[:12]} is retired; proposed by {wanted.operator}")


def print_proposal(change: str, proposal_id: str, config: Config) -> None:
    """Print that a change was proposed, and the command that makes it."""
    print_line(f"proposed {change}; nothing has changed yet")
    print_line(f"a different person makes the change with: {command_line('approve', proposal_id, config=config)}")


def _check_reason(reason: str) -> None:
    """Check a reason, unless there is none.

    Raises:
        ErasureRefused: The reason is too long, or has hidden characters.
    """
    from server.maintenance.erasure import check_reason

    if reason:
        check_reason(reason, None)
