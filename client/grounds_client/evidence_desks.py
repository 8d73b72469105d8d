"""What `evidence` and `replay` speak of: a decision by its name, or a customer of a churn run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import typer
from rich.console import Console

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds_client.calls import Client
from grounds_client.churn_page import churn_page
from grounds_client.churn_proof import churn_checks
from grounds_client.evidence_page import evidence_page
from grounds_client.evidence_parts import Told
from grounds_client.proof import Check, checks
from grounds_client.show_audit import show_churn_evidence, show_evidence
from grounds_record.note import VerifierKey

OF_RISK = 3  # words: RUN MARKET CUSTOMER
Modes = Sequence[evidence_pb2.ReplayMode]


class Desk(Protocol):
    """Reads, replays, checks and shows evidence of one kind; Any is that kind's message of evidence."""

    @property
    def name(self) -> str:
        """Say what it is about."""

    def evidence(self, client: Client, purpose: str, locale: str) -> Any:
        """Read it."""

    def replay(self, client: Client, purpose: str, modes: Modes, bundle_id: str) -> Any:
        """Have it computed again."""

    def checks(self, found: Any, key: VerifierKey) -> list[Check]:
        """Check it here."""

    def page(self, found: Any, replay: Any, checked: Sequence[Check], told: Told) -> str:
        """Write it as a page."""

    def show(self, console: Console, found: Any) -> None:
        """Show it in a terminal."""


@dataclass(frozen=True, slots=True)
class DecisionDesk:
    """A credit decision."""

    decision_id: str

    @property
    def name(self) -> str:
        """Say what it is about."""
        return f"decision {self.decision_id}"

    def evidence(self, client: Client, purpose: str, _locale: str) -> audit_pb2.Evidence:
        """Read it; its reasons were rendered when it was decided."""
        return client.get_evidence(self.decision_id, purpose)

    def replay(self, client: Client, purpose: str, modes: Modes, bundle_id: str) -> audit_pb2.ReplayDecisionResponse:
        """Have it computed again."""
        return client.replay_decision(self.decision_id, purpose, modes=modes, bundle_id=bundle_id)

    def checks(self, found: audit_pb2.Evidence, key: VerifierKey) -> list[Check]:
        """Check it here."""
        return checks(found, key)

    def page(
        self,
        found: audit_pb2.Evidence,
        replay: audit_pb2.ReplayDecisionResponse,
        checked: Sequence[Check],
        told: Told,
    ) -> str:
        """Write it as a page."""
        return evidence_page(found, replay, checked, told)

    def show(self, console: Console, found: audit_pb2.Evidence) -> None:
        """Show it in a terminal."""
        show_evidence(console, found)


@dataclass(frozen=True, slots=True)
class RiskDesk:
    """A customer of a churn run."""

    run_id: str
    customer: tuple[str, str]

    @property
    def name(self) -> str:
        """Say what it is about."""
        return f"customer {' '.join(self.customer)} in run {self.run_id}"

    def evidence(self, client: Client, purpose: str, locale: str) -> audit_pb2.ChurnEvidence:
        """Read it."""
        return client.get_churn_evidence(self.run_id, self.customer, purpose, locale=locale)

    def replay(self, client: Client, purpose: str, modes: Modes, bundle_id: str) -> audit_pb2.ReplayChurnRiskResponse:
        """Have it computed again."""
        return client.replay_churn_risk(self.run_id, self.customer, purpose, modes=modes, bundle_id=bundle_id)

    def checks(self, found: audit_pb2.ChurnEvidence, key: VerifierKey) -> list[Check]:
        """Check it here."""
        return churn_checks(found, key)

    def page(
        self,
        found: audit_pb2.ChurnEvidence,
        replay: audit_pb2.ReplayChurnRiskResponse,
        checked: Sequence[Check],
        told: Told,
    ) -> str:
        """Write it as a page."""
        return churn_page(found, replay, checked, told)

    def show(self, console: Console, found: audit_pb2.ChurnEvidence) -> None:
        """Show it in a terminal."""
        show_churn_evidence(console, found)


def desk_of(words: Sequence[str]) -> Desk:
    """Read DECISION_ID, or RUN MARKET CUSTOMER."""
    if len(words) == 1:
        return DecisionDesk(words[0])
    if len(words) == OF_RISK:
        return RiskDesk(words[0], (words[1], words[2]))
    raise typer.BadParameter(f"{len(words)} words: name a decision, DECISION_ID, or a churn risk, RUN MARKET CUSTOMER")
