"""Derives from record headers which bundle served which market when, and which policy was in force.

Every change is a record: a bundle is activated, deactivated or retired, or a policy is activated. The header of a change
contains what was changed, so the history follows from headers alone, without a key. The header of a decision names the
two activations under which the decision was made.
"""

from dataclasses import dataclass, field

from grounds_record.header import Header
from grounds_record.verification_report import Fault, FaultKind

BUNDLE_ACTIVATED, BUNDLE_DEACTIVATED = "BUNDLE_ACTIVATED", "BUNDLE_DEACTIVATED"
BUNDLE_RETIRED, POLICY_ACTIVATED = "BUNDLE_RETIRED", "POLICY_ACTIVATED"
CHANGE_PROPOSED = "CHANGE_PROPOSED"
CHANGE_KINDS = (BUNDLE_ACTIVATED, BUNDLE_DEACTIVATED, BUNDLE_RETIRED, POLICY_ACTIVATED, CHANGE_PROPOSED)
# Labels of changes.
FAMILY_LABEL, MARKET_LABEL, BUNDLE_LABEL, POLICY_LABEL = "family", "market", "bundle", "policy"
PREVIOUS_LABEL = "previous"  # digest of what served or was in force before; absent if there was nothing
SOURCE_LABEL = "source"  # SERVER_SOURCE if a server recorded the change; absent if a command did
PROPOSAL_LABEL = "proposal"  # record_id of the proposal that a second person approved
SERVER_SOURCE = "SERVER"
# Labels of decisions, whose values are the record_ids of activations.
ACTIVATION_LABEL, POLICY_ACTIVATION_LABEL = "activation", "policy_activation"
_DECISION = "CREDIT_DECISION"
_CREDIT_FAMILY = "credit"


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change of what serves.

    Attributes:
        index: Index of the record in the log.
        header: Header of the record.
    """

    index: int
    header: Header

    @property
    def record_id(self) -> str:
        """Return the id of the record."""
        return self.header.record_id

    @property
    def family(self) -> str:
        """Return the model family; "" for a policy."""
        return self.header.labels.get(FAMILY_LABEL, "")

    @property
    def market(self) -> str:
        """Return the market; "" for a change that does not concern one market."""
        return self.header.labels.get(MARKET_LABEL, "")

    @property
    def bundle_id(self) -> str:
        """Return the bundle that serves after the change, or that is retired or proposed; "" if there is none."""
        return self.header.labels.get(BUNDLE_LABEL, "")

    @property
    def policy_sha256(self) -> str:
        """Return the digest of the policy file; "" for a change of a bundle."""
        return self.header.labels.get(POLICY_LABEL, "")

    @property
    def previous(self) -> str:
        """Return the digest of what served or was in force before; "" if there was nothing."""
        return self.header.labels.get(PREVIOUS_LABEL, "")

    @property
    def is_by_server(self) -> bool:
        """Return whether a server recorded the change, because no command had."""
        return self.header.labels.get(SOURCE_LABEL) == SERVER_SOURCE


@dataclass(slots=True)
class ActivationHistory:
    """The history of all changes, built record by record in the order of the log.

    Attributes:
        changes: All changes in the order of the log.
        serving: The last activation or deactivation of each family and market.
        policy: The last activation of a policy; None before the first one.
        retired: The retired bundles.
        approved: The proposals that were approved.
        served: The bundles that have ever served each family and market.
        policies: The policies that have ever been in force.
    """

    changes: list[RecordedChange] = field(default_factory=list)
    serving: dict[tuple[str, str], RecordedChange] = field(default_factory=dict)
    policy: RecordedChange | None = None
    retired: set[str] = field(default_factory=set)
    approved: set[str] = field(default_factory=set)
    served: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    policies: set[str] = field(default_factory=set)
    _by_id: dict[str, RecordedChange] = field(default_factory=dict)
    _rollbacks: set[str] = field(default_factory=set)  # record_ids

    def add(self, index: int, header: Header) -> None:
        """Add the next record of the log. A record of another kind changes nothing."""
        if header.kind not in CHANGE_KINDS:
            return
        change = RecordedChange(index, header)
        self.changes.append(change)
        self._by_id[change.record_id] = change
        if proposal := header.labels.get(PROPOSAL_LABEL):
            self.approved.add(proposal)
        if header.kind in (BUNDLE_ACTIVATED, BUNDLE_DEACTIVATED):
            self._add_bundle(change)
        elif header.kind == BUNDLE_RETIRED:
            self.retired.add(change.bundle_id)
        elif header.kind == POLICY_ACTIVATED:
            self._add_policy(change)

    def _add_bundle(self, change: RecordedChange) -> None:
        """Add an activation or a deactivation of a bundle."""
        key = (change.family, change.market)
        before = self.serving[key].bundle_id if key in self.serving else ""
        self.serving[key] = change
        if not change.bundle_id:
            return
        served = self.served.setdefault(key, set())
        if change.bundle_id != before and change.bundle_id in served:
            self._rollbacks.add(change.record_id)
        served.add(change.bundle_id)

    def _add_policy(self, change: RecordedChange) -> None:
        """Add an activation of a policy."""
        before = self.policy.policy_sha256 if self.policy else ""
        if change.policy_sha256 != before and change.policy_sha256 in self.policies:
            self._rollbacks.add(change.record_id)
        self.policy = change
        self.policies.add(change.policy_sha256)

    def find(self, record_id: str) -> RecordedChange | None:
        """Return a change by the id of its record; None if there is none among the records so far."""
        return self._by_id.get(record_id)

    def in_force(self, time_us: int) -> list[RecordedChange]:
        """Return what was in force at a time, in the order of the log.

        Args:
            time_us: The time in microseconds since 1970, UTC.

        Returns:
            For each family and market the last activation or deactivation at or before the time, and the last
            activation of a policy.
        """
        earlier = ActivationHistory()
        for change in self.changes:
            if change.header.time_us <= time_us:
                earlier.add(change.index, change.header)
        found = [*earlier.serving.values(), *([earlier.policy] if earlier.policy else [])]
        return sorted(found, key=lambda change: change.index)

    def is_rollback(self, change: RecordedChange) -> bool:
        """Return whether a change activates a bundle or a policy that had been activated before its predecessor.

        A change that only confirms what already serves is no rollback. For example, an operator may confirm a policy
        that a server had put in force.
        """
        return change.record_id in self._rollbacks

    def decision_problem(self, header: Header) -> str:
        """Return how a decision contradicts the activations before it; "" if it does not.

        A decision of an earlier release names no activation, so it must not be passed.
        """
        labels = header.labels
        bundle, policy = self.find(labels.get(ACTIVATION_LABEL, "")), self.find(labels.get(POLICY_ACTIVATION_LABEL, ""))
        if bundle is None or bundle.header.kind != BUNDLE_ACTIVATED:
            return "the activation of the bundle that it names is not among the records before it"
        expected = (_CREDIT_FAMILY, labels.get(MARKET_LABEL, ""), labels.get(BUNDLE_LABEL, ""))
        if (bundle.family, bundle.market, bundle.bundle_id) != expected:
            return "the activation that it names is of a different bundle or market"
        if policy is None or policy.header.kind != POLICY_ACTIVATED:
            return "the activation of the policy that it names is not among the records before it"
        if policy.policy_sha256 != labels.get(POLICY_LABEL, ""):
            return "the activation that it names is of a different policy"
        return ""


class ActivationCheck:
    """Compares every decision among the records of an export with the activations before it.

    Attributes:
        faults: The decisions that name an activation that no earlier record states.
    """

    def __init__(self, *, is_complete: bool) -> None:
        """Create the check.

        Args:
            is_complete: Whether the first record is the first record of the log. Otherwise, activations may be missing,
                so no decision is a fault.
        """
        self._is_complete, self._history = is_complete, ActivationHistory()
        self._named = self._unnamed = 0
        self.faults: list[Fault] = []

    def add(self, index: int, header: Header) -> None:
        """Add the next record."""
        self._history.add(index, header)
        if header.kind != _DECISION:
            return
        if not _names_activation(header):
            self._unnamed += 1
            return
        self._named += 1
        if self._is_complete and (problem := self._history.decision_problem(header)):
            self.faults.append(Fault(FaultKind.ACTIVATION_UNRECORDED, index, index, problem))

    def sentence(self) -> str:
        """Return a sentence about the changes and the decisions; "" if the records contain no change."""
        changes = len(self._history.changes)
        if not changes or not self._is_complete:
            return ""
        named = self._named - len(self.faults)
        older = f"; {self._unnamed} decisions of earlier releases name none" if self._unnamed else ""
        return (
            f"{changes} changes of bundles and policies; {named} decisions were made under a recorded activation{older}"
        )


def _names_activation(header: Header) -> bool:
    """Return whether a decision names the activations under which it was made. Decisions of earlier releases do not."""
    return bool({ACTIVATION_LABEL, POLICY_ACTIVATION_LABEL} & set(header.labels))
