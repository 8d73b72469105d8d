"""Four eyes: one operator proposes a change of a bundle or of the policy, and a second operator approves it.

A proposal is a record of the log and has no effect. An approval appends the records of the change, which name both
operators and the proposal. The change can be approved only while the same bundles and the same policy serve as when it was
proposed, so that an approver decides about what the proposer saw. What is in use already needs no approval, and is not proposed.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.activations import BUNDLE_LABEL, CHANGE_PROPOSED, FAMILY_LABEL, POLICY_LABEL, ActivationHistory
from models.bundle import Bundle
from models.catalog import PREFIX_LENGTH_MIN, check_activation, find_bundle, match_prefix, select_bundles
from server.decisions.policy import Policy
from server.errors import ChangeRefused
from server.registry.bundle_activation import (
    change_entry,
    check_not_approved,
    record_activation,
    record_retirement,
    release_verdict,
    served_bundle,
)
from server.registry.bundle_signatures import BundleSignatures
from server.registry.change_origin import ChangeOrigin
from server.registry.policy_activation import PolicyChange, activate_policy
from server.registry.policy_registry import read_stored_policy
from server.stores.catalog.policies import PolicyStore, save_policy
from server.stores.record_log.activations import read_history
from server.stores.record_log.log import RecordLog


@dataclass(frozen=True, slots=True)
class ApprovedChange:
    """A change that a second operator approved.

    Attributes:
        proposal_id: Id of the record of the proposal.
        proposal: The proposal.
        markets: The markets in which the bundle serves from now on; empty for a retirement and for a policy.
    """

    proposal_id: str
    proposal: pb.ChangeProposalRecord
    markets: tuple[str, ...]


def propose_activation(
    log: RecordLog,
    bundles: Path,
    bundle: Bundle,
    markets: Sequence[str],
    operator: str,
    reason: str,
    at: dt.datetime,
) -> str | None:
    """Record the proposal that a bundle serves markets.

    Returns:
        The id of the record; None if the bundle serves all these markets already according to the record log. Then nothing
        is recorded, and the lines of the markets in ACTIVE.toml are restored.

    Raises:
        StoreUnavailable: It is unknown whether the proposal was recorded.
    """
    family, ordered = bundle.manifest.family, sorted(set(markets))
    with _locked_history(log) as (connection, history):
        served = [served_bundle(history, (family, market)) for market in ordered]
        if set(served) == {bundle.bundle_id}:
            select_bundles(bundles, family, dict.fromkeys(ordered, bundle.bundle_id))
            return None
        body = pb.ChangeProposalRecord(
            change=pb.CHANGE_KIND_ACTIVATION,
            family=family,
            markets=ordered,
            digest=bundle.bundle_id,
            previous_digests=served,
            release_verdict=release_verdict(bundle),
            reason=reason,
            operator=operator,
        )
        labels = {FAMILY_LABEL: family, BUNDLE_LABEL: bundle.bundle_id}
        return _append_proposal(log, connection, history, body, labels, at)


def propose_retirement(
    log: RecordLog, family: str, bundle_id: str, operator: str, reason: str, at: dt.datetime
) -> str | None:
    """Record the proposal that a bundle is retired; return the id of the record, or None if it is retired already.

    Raises:
        StoreUnavailable: It is unknown whether the proposal was recorded.
    """
    body = pb.ChangeProposalRecord(
        change=pb.CHANGE_KIND_RETIREMENT, family=family, digest=bundle_id, reason=reason, operator=operator
    )
    with _locked_history(log) as (connection, history):
        if bundle_id in history.retired:
            return None
        labels = {FAMILY_LABEL: family, BUNDLE_LABEL: bundle_id}
        return _append_proposal(log, connection, history, body, labels, at)


def propose_policy(log: RecordLog, policy: Policy, operator: str, reason: str, at: dt.datetime) -> str | None:
    """Store a policy and record the proposal that it comes into force.

    Returns:
        The id of the record; None if an operator has put this policy in force already. A policy that a server took from its
        file is proposed, so that a person can answer for it.

    Raises:
        StoreUnavailable: It is unknown whether the proposal was recorded.
    """
    with _locked_history(log) as (connection, history):
        before = history.policy
        if before is not None and before.policy_sha256 == policy.sha256 and not before.is_by_server:
            return None
        # Store the policy with its proposal: a stored policy that nobody proposed counts as one that was in force.
        save_policy(connection, policy.content)
        body = pb.ChangeProposalRecord(
            change=pb.CHANGE_KIND_POLICY_ACTIVATION,
            digest=policy.sha256,
            previous_digests=[before.policy_sha256 if before else ""],
            policy_version=policy.document.version,
            reason=reason,
            operator=operator,
        )
        return _append_proposal(log, connection, history, body, {POLICY_LABEL: policy.sha256}, at)


def approve(
    log: RecordLog, bundles: Path, signatures: BundleSignatures, wanted: str, operator: str, at: dt.datetime
) -> ApprovedChange:
    """Make a proposed change. The bundle and its signature, or the version of the policy, are checked again.

    The records of the change close the proposal, even if the same bundle or policy is in use already.

    Args:
        log: The record log.
        bundles: The catalog.
        signatures: Checks the signature of the bundle.
        wanted: Id of the proposal, or an unambiguous prefix of 8 or more characters.
        operator: Account of the operator who approves.
        at: The time of the records.

    Raises:
        ChangeRefused: There is no such proposal, it was approved already, the proposer is the approver, or other
            bundles or another policy serve than when the change was proposed.
        ActivationRejected, BundleInvalid: The bundle cannot be activated any longer.
        PolicyRefused: A different policy with the same version came into force since the proposal.
        StoreUnavailable: It is unknown whether the change was made.
    """
    with log.database.reading() as connection:
        history = read_history(connection)
    proposal_id = _find_proposal(history, wanted)
    # Refuse early. The change repeats this check while the log is locked, because two people may approve at once.
    check_not_approved(history, ChangeOrigin(proposal_id=proposal_id))
    record = log.find_by_id(proposal_id)
    assert record is not None, "the record was read from the log"
    proposal = pb.ChangeProposalRecord.FromString(record.body)
    if proposal.operator == operator:
        raise ChangeRefused(
            f"{operator} has proposed this change, so a different account must approve it; log in with your own account"
        )
    origin = ChangeOrigin(proposal.operator, operator, proposal_id)
    markets: tuple[str, ...] = ()
    if proposal.change == pb.CHANGE_KIND_ACTIVATION:
        signatures.check(find_bundle(bundles, proposal.digest))
        bundle, markets = check_activation(bundles, proposal.digest, tuple(proposal.markets))
        expected = dict(zip(proposal.markets, proposal.previous_digests, strict=True))
        record_activation(
            log, bundles, bundle, markets, origin=origin, reason=proposal.reason, at=at, expected=expected
        )
    elif proposal.change == pb.CHANGE_KIND_RETIREMENT:
        record_retirement(log, bundles, proposal.family, proposal.digest, origin, proposal.reason, at)
    else:
        policy = read_stored_policy(PolicyStore(log.database), proposal.digest)
        change, expected_policy = PolicyChange(None, policy), proposal.previous_digests[0]
        activate_policy(log, change, proposal.reason, at, origin=origin, expected=expected_policy)
    return ApprovedChange(proposal_id, proposal, markets)


def _find_proposal(history: ActivationHistory, wanted: str) -> str:
    """Return the id of a proposal, approved or not."""
    proposals = [change.record_id for change in history.changes if change.header.kind == CHANGE_PROPOSED]
    found = match_prefix(wanted.lower(), proposals)
    if len(found) != 1:
        raise ChangeRefused(
            f"{wanted}: {len(found)} proposals begin with it; specify the id that the proposal printed, or at least "
            f"{PREFIX_LENGTH_MIN} characters of it"
        )
    return found[0]


@contextmanager
def _locked_history(log: RecordLog) -> Iterator[tuple[Connection, ActivationHistory]]:
    """Lock the head of the log; yield the connection of the transaction and the history, which nobody changes meanwhile."""
    with log.database.writing() as connection:
        log.lock_head(connection)
        yield connection, read_history(connection)


def _append_proposal(
    log: RecordLog,
    connection: Connection,
    history: ActivationHistory,
    body: pb.ChangeProposalRecord,
    labels: Mapping[str, str],
    at: dt.datetime,
) -> str:
    """Append the record of a proposal in the transaction that locks the log; return its id.

    If an equal proposal waits for its approval, nothing is appended, and its id is returned. A scheduler that was interrupted
    can therefore repeat its command.
    """
    if (waiting := _find_waiting(log, history, body, labels)) is not None:
        return waiting
    entry = change_entry(CHANGE_PROPOSED, body, labels, ChangeOrigin(body.operator), at)
    log.append_or_raise(connection, [entry])
    return entry.record_id


def _find_waiting(
    log: RecordLog, history: ActivationHistory, body: pb.ChangeProposalRecord, labels: Mapping[str, str]
) -> str | None:
    """Return the id of an equal proposal that is not approved yet; None if there is none."""
    for change in history.changes:
        is_open = change.header.kind == CHANGE_PROPOSED and change.record_id not in history.approved
        if not is_open or any(change.header.labels.get(name) != value for name, value in labels.items()):
            continue
        record = log.find_by_id(change.record_id)
        if record is not None and pb.ChangeProposalRecord.FromString(record.body) == body:
            return change.record_id
    return None
