"""Activates a policy: checks it completely, stores it by its SHA-256, and appends the record that puts it in force."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from grounds.audit.v1 import bodies_pb2 as pb
from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused, RecordDamaged
from server.registry.policy_registry import check_version, find_policy_in_force, read_stored_policy
from server.stores.catalog.policies import PolicyStore
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.holds import OPERATOR, append_entry
from server.stores.record_log.log import RecordLog
from server.stores.record_log.policy_activations import POLICY_ACTIVATED, POLICY_LABEL, read_activated_policy

_PREFIX_LENGTH_MIN = 8


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
        check_version(store, after)
        if before is not None and _is_same_version(before, after):
            raise PolicyRefused(
                f"{wanted}: version {after.document.version} is in force with different content; change `version` in the file"
            )
        return PolicyChange(before, after)
    found = [sha256 for sha256 in store.find_versions() if sha256.startswith(wanted)]
    if len(wanted) < _PREFIX_LENGTH_MIN or len(found) != 1:
        raise PolicyRefused(
            f"{wanted}: there is no such file, and {len(found)} stored policies have a SHA-256 that begins with it; specify the path "
            f"of a policy file, or at least {_PREFIX_LENGTH_MIN} characters of the SHA-256 of a policy that was in force"
        )
    return PolicyChange(before, read_stored_policy(store, found[0]))


def activate_policy(
    log: RecordLog, change: PolicyChange, reason: str, at: dt.datetime, *, only_first: bool = False
) -> bool:
    """Store a policy, and append the record that puts it in force. Store the previous policy too, for a rollback.

    Args:
        log: The record log.
        change: The result of `plan_activation`.
        reason: The reason, which is recorded permanently; may be empty.
        at: The time of the record.
        only_first: Change nothing if any policy was ever activated.

    Returns:
        Whether the policy was activated. If it was activated already, nothing is changed.

    Raises:
        StoreUnavailable: It is unknown whether the policy was activated.
    """
    policy, store = change.after, PolicyStore(log.database)
    for each in (change.before, policy):
        if each is not None:
            store.save(each.content)
    with log.database.writing() as connection:
        # Lock the head before reading, so that two operators cannot both replace the same policy.
        log.lock_head(connection)
        previous = read_activated_policy(connection)
        if previous == policy.sha256 or (only_first and previous is not None):
            return False
        body = pb.PolicyActivationRecord(
            policy_version=policy.document.version,
            policy_sha256=policy.sha256,
            previous_policy_sha256=previous or "",
            reason=reason,
        )
        entry = LogEntry(
            kind=POLICY_ACTIVATED,
            record_id=new_record_id(at),
            time=at,
            caller=OPERATOR,
            body=body.SerializeToString(deterministic=True),
            labels={POLICY_LABEL: policy.sha256},
        )
        append_entry(log, connection, entry)
    return True


def _is_same_version(one: Policy, other: Policy) -> bool:
    """Return whether two policies have the same version and different content."""
    return one.document.version == other.document.version and one.sha256 != other.sha256
