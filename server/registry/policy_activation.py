"""Activates a policy: checks it completely, stores it by its SHA-256, and appends the record that puts it in force."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.activations import POLICY_ACTIVATED, POLICY_LABEL, PREVIOUS_LABEL
from models.catalog import PREFIX_LENGTH_MIN, match_prefix
from server.decisions.policy import Policy, read_policy
from server.errors import ChangeRefused, PolicyRefused, RecordDamaged
from server.registry.bundle_activation import change_entry, check_not_approved
from server.registry.change_origin import BY_SERVER, ChangeOrigin
from server.registry.policy_registry import check_version, find_policy_in_force, read_stored_policy
from server.stores.catalog.policies import PolicyStore, read_versions, save_policy
from server.stores.record_log.activations import read_activated_policy, read_history
from server.stores.record_log.entries import LogEntry
from server.stores.record_log.log import RecordLog


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change of the policy.

    Attributes:
        before: The policy in force; None if it cannot be read.
        after: The policy to put in force.
    """

    before: Policy | None
    after: Policy


def plan_activation(store: PolicyStore, wanted: str, configured: Path) -> PolicyChange:
    """Check a policy, and return it with the policy in force. Nothing is changed.

    Args:
        store: The store of all policies.
        wanted: Path of a policy file or, for a policy that was in force earlier, an unambiguous prefix of its SHA-256
            with 8 or more characters.
        configured: The policy file in the configuration, which is in force if no policy was ever activated.

    Raises:
        PolicyRefused: The policy is invalid, incomplete, unknown, or has the version of a different policy that was in
            force.
        RecordDamaged: The stored policy was changed.
        StoreUnavailable: The database does not answer.
    """
    try:
        before = find_policy_in_force(store, configured)
    except (PolicyRefused, RecordDamaged):
        before = None
    if Path(wanted).exists():
        after = read_policy(Path(wanted))
        check_version(store.find_versions(), after)
        if before is not None and _is_same_version(before, after):
            raise PolicyRefused(
                f"{wanted}: version {after.document.version} is in force with different content; change `version` in the file"
            )
        return PolicyChange(before, after)
    found = match_prefix(wanted, store.find_versions())
    if len(found) != 1:
        raise PolicyRefused(
            f"{wanted}: there is no such file, and {len(found)} policies that were in force have a SHA-256 that begins with it; "
            f"specify the path of a policy file, or at least {PREFIX_LENGTH_MIN} characters of the SHA-256 of a policy that was in force"
        )
    return PolicyChange(before, read_stored_policy(store, found[0]))


def activate_policy(
    log: RecordLog,
    change: PolicyChange,
    reason: str,
    at: dt.datetime,
    *,
    origin: ChangeOrigin,
    expected: str | None = None,
) -> bool:
    """Store a policy, and append the record that puts it in force. Store the previous policy too, for a rollback.

    Args:
        log: The record log.
        change: The result of `plan_activation`.
        reason: The reason, which is recorded permanently; may be empty.
        at: The time of the record.
        origin: Who makes the change.
        expected: SHA-256 of the policy that must be in force now, or "" for none; None for no check.

    Returns:
        Whether the policy was activated. If an operator activated it already, a record is written only if the
        change was approved by a second operator, because the record closes the proposal.

    Raises:
        ChangeRefused: The policy in force is not the one that `expected` states, or the proposal was approved already.
        PolicyRefused: A different policy with the same version came into force after the change was planned.
        StoreUnavailable: It is unknown whether the policy was activated.
    """
    policy = change.after
    with log.database.writing() as connection:
        # Lock the head before reading, so that two operators cannot both replace the same policy.
        log.lock_head(connection)
        previous = read_activated_policy(connection)
        if origin.proposal_id:
            check_not_approved(read_history(connection), origin)
        elif previous is not None and previous.policy_sha256 == policy.sha256 and not previous.is_by_server:
            return False
        before = previous.policy_sha256 if previous else ""
        if expected is not None and before != expected:
            raise ChangeRefused(
                f"since the proposal, the policy in force has changed from {expected[:12] or 'none'} to {before[:12] or 'none'}; "
                "propose the change again"
            )
        # Store the policy after this check: a stored policy counts as one that was in force.
        check_version(read_versions(connection), policy)
        for each in (change.before, policy):
            if each is not None:
                save_policy(connection, each.content)
        log.append_or_raise(connection, [_policy_entry(policy, before, reason, at, origin)])
    return True


def activate_policy_of_file(log: RecordLog, policy: Policy, at: dt.datetime, *, only_first: bool) -> None:
    """Append the record that puts the policy of the file in force, if it is not in force yet.

    Args:
        log: The record log.
        policy: The policy of the file, which is stored already.
        at: The time of the record.
        only_first: Change nothing if any policy was ever activated. Otherwise, the file replaces the policy that an
            earlier start activated, but never a policy that an operator activated.

    Raises:
        PolicyRefused: Another server has activated a different policy with the same version at the same time.
        StoreUnavailable: It is unknown whether the policy was activated.
    """
    with log.database.writing() as connection:
        log.lock_head(connection)  # several servers may start at the same time
        previous = read_activated_policy(connection)
        if previous is not None:
            is_in_force = previous.policy_sha256 == policy.sha256
            if only_first or is_in_force or not previous.is_by_server:
                return
        # Every server stores the policy of its file before this check, so only recorded activations count.
        check_version(read_versions(connection, only_recorded=True), policy)
        before = previous.policy_sha256 if previous else ""
        log.append_or_raise(connection, [_policy_entry(policy, before, "", at, BY_SERVER)])


def _policy_entry(policy: Policy, previous: str, reason: str, at: dt.datetime, origin: ChangeOrigin) -> LogEntry:
    """Return the entry of the activation of a policy."""
    body = pb.PolicyActivationRecord(
        policy_version=policy.document.version,
        policy_sha256=policy.sha256,
        previous_policy_sha256=previous,
        reason=reason,
        author=origin.message(),
    )
    labels = {POLICY_LABEL: policy.sha256, PREVIOUS_LABEL: previous}
    return change_entry(POLICY_ACTIVATED, body, labels, origin, at)


def _is_same_version(one: Policy, other: Policy) -> bool:
    """Return whether two policies have the same version and different content."""
    return one.document.version == other.document.version and one.sha256 != other.sha256
