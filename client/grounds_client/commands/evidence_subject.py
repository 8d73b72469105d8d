"""The subject of the commands `evidence` and `replay`: a credit decision, or one customer of a churn run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import typer
from rich.console import Console

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds_client.client import Client
from grounds_client.commands.parsers import check_market, parse_decision_id, resolve_run_id
from grounds_client.evidence.checks import EvidenceCheck, check_churn_evidence, check_decision_evidence
from grounds_client.evidence.churn_page import render_churn_page
from grounds_client.evidence.decision_page import render_decision_page
from grounds_client.terminal.audit import show_churn_evidence, show_decision_evidence
from grounds_record.note import VerifierKey

_Modes = Sequence[evidence_pb2.ReplayMode]


class EvidenceSubject(Protocol):
    """Reads, replays, checks and shows evidence of one kind.

    `Any` stands for messages whose type depends on the kind.
    """

    @property
    def description(self) -> str:
        """Return the subject of the evidence as text."""

    def read(self, client: Client, purpose: str, locale: str) -> Any:
        """Return the evidence."""

    def replay(self, client: Client, purpose: str, modes: _Modes, bundle_id: str) -> Any:
        """Return the verdicts of a replay."""

    def check(self, evidence: Any, key: VerifierKey, *, given: bool) -> list[EvidenceCheck]:
        """Check the evidence on the reader's side."""

    def render(self, evidence: Any, replay: Any, checks: Sequence[EvidenceCheck], *, purpose: str, key: str) -> str:
        """Return the evidence page as HTML."""

    def show(self, console: Console, evidence: Any) -> None:
        """Print the evidence."""


@dataclass(frozen=True, slots=True)
class _DecisionSubject:
    """A credit decision."""

    decision_id: str

    @property
    def description(self) -> str:
        """Return the subject of the evidence as text."""
        return f"decision {self.decision_id}"

    def read(self, client: Client, purpose: str, _locale: str) -> audit_pb2.Evidence:
        """Return the evidence. The locale is ignored, because the language of the reasons was fixed by the decision."""
        return client.get_evidence(self.decision_id, purpose)

    def replay(self, client: Client, purpose: str, modes: _Modes, bundle_id: str) -> audit_pb2.ReplayDecisionResponse:
        """Return the verdicts of a replay."""
        return client.replay_decision(self.decision_id, purpose, modes=modes, bundle_id=bundle_id)

    def check(self, evidence: audit_pb2.Evidence, key: VerifierKey, *, given: bool) -> list[EvidenceCheck]:
        """Check the evidence on the reader's side."""
        return check_decision_evidence(evidence, key, given=given)

    def render(
        self,
        evidence: audit_pb2.Evidence,
        replay: audit_pb2.ReplayDecisionResponse,
        checks: Sequence[EvidenceCheck],
        *,
        purpose: str,
        key: str,
    ) -> str:
        """Return the evidence page as HTML."""
        return render_decision_page(evidence, replay, checks, purpose=purpose, key=key)

    def show(self, console: Console, evidence: audit_pb2.Evidence) -> None:
        """Print the evidence."""
        show_decision_evidence(console, evidence)


@dataclass(frozen=True, slots=True)
class _ChurnRiskSubject:
    """One customer of a churn run."""

    run_id: str
    market: str
    customer_id: str

    @property
    def description(self) -> str:
        """Return the subject of the evidence as text."""
        return f"customer {self.market} {self.customer_id} in run {self.run_id}"

    def read(self, client: Client, purpose: str, locale: str) -> audit_pb2.ChurnEvidence:
        """Return the evidence."""
        return client.get_churn_evidence(self.run_id, self.market, self.customer_id, purpose, locale=locale)

    def replay(self, client: Client, purpose: str, modes: _Modes, bundle_id: str) -> audit_pb2.ReplayChurnRiskResponse:
        """Return the verdicts of a replay."""
        return client.replay_churn_risk(
            self.run_id, self.market, self.customer_id, purpose, modes=modes, bundle_id=bundle_id
        )

    def check(self, evidence: audit_pb2.ChurnEvidence, key: VerifierKey, *, given: bool) -> list[EvidenceCheck]:
        """Check the evidence on the reader's side."""
        return check_churn_evidence(evidence, key, given=given)

    def render(
        self,
        evidence: audit_pb2.ChurnEvidence,
        replay: audit_pb2.ReplayChurnRiskResponse,
        checks: Sequence[EvidenceCheck],
        *,
        purpose: str,
        key: str,
    ) -> str:
        """Return the evidence page as HTML."""
        return render_churn_page(evidence, replay, checks, purpose=purpose, key=key)

    def show(self, console: Console, evidence: audit_pb2.ChurnEvidence) -> None:
        """Print the evidence."""
        show_churn_evidence(console, evidence)


def resolve_subject(client: Client, words: Sequence[str]) -> EvidenceSubject:
    """Return the subject for the arguments DECISION_ID, or RUN MARKET CUSTOMER."""
    match words:
        case [decision_id]:
            return _DecisionSubject(parse_decision_id(decision_id))
        case [run, market, customer_id]:
            return _ChurnRiskSubject(resolve_run_id(client, run, "RUN"), check_market(market), customer_id)
        case _:
            raise typer.BadParameter(
                f"must be DECISION_ID for a decision, or RUN MARKET CUSTOMER for a churn risk; got {len(words)} words"
            )
