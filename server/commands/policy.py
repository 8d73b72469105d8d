"""`activate-policy`: put a credit policy in force."""

from typing import Annotated

import typer

from server.commands.catalog import print_proposal
from server.commands.options import Config, Preview, open_record_log
from server.commands.output import print_line
from server.config import read_settings


def activate_policy(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The policy file. To roll back, the SHA-256 of a policy that was in force, or 8 or more characters of it.",
        ),
    ],
    reason: Annotated[str, typer.Option(help="The reason. It is recorded permanently.")] = "",
    preview: Preview = False,
    config: Config = None,
) -> None:
    """Check a credit policy, store a copy, record the activation, and print what it changes.

    If four_eyes is set, the command only proposes the change, and a second person makes it with `approve`.

    Every server of the database uses the policy within seconds. To roll back, activate the previous policy again.
    """
    from server.decisions.policy_differences import difference_table, policy_differences
    from server.maintenance.erasure import check_reason
    from server.registry.change_origin import ChangeOrigin, operator_account
    from server.registry.policy_activation import activate_policy as activate
    from server.registry.policy_activation import plan_activation
    from server.registry.proposals import propose_policy
    from server.stores.catalog.policies import PolicyStore
    from server.stores.clock import utc_now

    if reason:
        check_reason(reason, None)
    settings = read_settings(config)
    with open_record_log(settings) as log:
        change = plan_activation(PolicyStore(log.database), policy, settings.policy)
        before, after = change.before, change.after
        differences = policy_differences(before.document, after.document) if before else []
        for line in difference_table(differences) if differences else []:
            print_line(line)
        version = f"policy {after.document.version} ({after.sha256[:12]})"
        if preview:
            print_line(f"{version} is valid; settings that would change: {len(differences)}; nothing was changed")
        elif settings.four_eyes and (proposal_id := propose_policy(log, after, operator_account(), reason, utc_now())):
            print_proposal(f"that {version} comes into force", proposal_id, config)
        elif not settings.four_eyes and activate(
            log, change, reason, utc_now(), origin=ChangeOrigin(operator_account())
        ):
            print_line(f"{version} is in force; changed settings: {len(differences)}")
            if before is not None and before.sha256 != after.sha256:
                print_line(f"the previous policy was {before.document.version} ({before.sha256[:12]})")
        else:
            print_line(f"{version} was in force already; nothing was changed")
