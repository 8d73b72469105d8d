"""Overrides that wait for a second person, who agrees in a session of their own."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2
from grounds_client import Amount

_SECONDS_MAX = 8 * 3600  # a working day
_PROPOSALS_MAX = 1000


class ProposalEnded(Exception):
    """A proposal is unknown, has ended, or was recorded."""


@dataclass(frozen=True, slots=True)
class ProposedOverride:
    """An override as a person filled it in.

    Attributes:
        decision_id: The decision to override.
        decision: The new decision.
        granted_amount: The granted amount; None unless the new decision is APPROVE_REDUCED.
        reason_code: One of the policy's reasons.
        user_id: The person who decides.
        user_role: The person's role.
        authority_limit: The largest amount that this person may grant.
        second_user_id: The second person who agrees; "" if there is none.
        comment: Free text.
        request_id: Makes recording the override safe to repeat.
        newest_override_id: The newest override of the decision when the person filled in the form; "" if there was none.
    """

    decision_id: str
    decision: credit_pb2.Decision
    granted_amount: Amount | None
    reason_code: str
    user_id: str
    user_role: str
    authority_limit: Amount
    second_user_id: str
    comment: str
    request_id: str
    newest_override_id: str


class OverrideProposals:
    """The overrides that wait for a second person, in the memory of the console. Threads may share it.

    A proposal ends after eight hours, and when the console stops: nothing was recorded, and the first person fills in the
    form again.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._proposals: dict[str, tuple[float, ProposedOverride]] = {}

    def add(self, proposal: ProposedOverride) -> str:
        """Add a proposal; return the id by which a second person finds it.

        A proposal that waits already, such as after a second click, keeps its id. A different one gets an id of its own, so
        what a second person has read under an id never changes.
        """
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._delete_expired()
            for waiting, (_, each) in self._proposals.items():
                if each == proposal:
                    return waiting
            if len(self._proposals) >= _PROPOSALS_MAX:
                del self._proposals[next(iter(self._proposals))]
            self._proposals[name] = (self._monotonic() + _SECONDS_MAX, proposal)
        return name

    def find(self, name: str) -> ProposedOverride:
        """Return a proposal.

        Raises:
            ProposalEnded: It is unknown, has ended, or was recorded.
        """
        with self._lock:
            self._delete_expired()
            found = self._proposals.get(name)
        if found is None:
            raise ProposalEnded
        return found[1]

    def delete(self, name: str) -> None:
        """Delete a proposal that was recorded."""
        with self._lock:
            self._proposals.pop(name, None)

    def _delete_expired(self) -> None:
        """Delete the proposals whose time has passed. The oldest comes first."""
        now = self._monotonic()
        while self._proposals and next(iter(self._proposals.values()))[0] <= now:
            del self._proposals[next(iter(self._proposals))]
