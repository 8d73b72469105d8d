"""The calls, typed: plain values in, the contract's messages out."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc, churn_evidence_pb2, evidence_pb2, sample_pb2
from grounds.churn.v1 import churn_pb2_grpc
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds.model.v1 import model_pb2, model_pb2_grpc
from grounds_client.churn_calls import PAGE_SIZE, ChurnCalls
from grounds_client.connection import ADDRESS, connect
from grounds_client.errors import call_failed

DEADLINE_SECONDS = 5.0
SAMPLE_SECONDS_MAX = 60.0
NANOS = 10**9
AMOUNT_MAX = 10**18  # Money has whole units of 64 bits
Value = float | str  # a number, or the name of a level
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class About:
    """What a credit request says beside the customer, the amount and the features.

    Attributes:
        product: As the policy names it; "" is the standard product.
        facts: What the policy's hard rules ask for, by name.
        locale: Language of the reasons; "" is English.
    """

    product: str = ""
    facts: Mapping[str, Value] = field(default_factory=dict)
    locale: str = ""

    def fields(self) -> dict[str, Any]:
        """Give the fields of a request."""
        return {"product": self.product, "facts": feature_values(self.facts), "locale": self.locale}


class Client(ChurnCalls):
    """Calls one server. May be shared by threads; use it in a `with` block, or close it.

    Every method raises CallFailed. A call that the server does not answer in time is DEADLINE_EXCEEDED;
    asking again with the same request_id is safe.
    """

    def __init__(self, address: str = ADDRESS, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.channel = connect(address)
        self.deadline_seconds = deadline_seconds
        self.credit = credit_pb2_grpc.CreditServiceStub(self.channel)
        self.churn = churn_pb2_grpc.ChurnServiceStub(self.channel)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)

    def score_credit(
        self,
        customer: tuple[str, str],
        amount: tuple[Decimal, str],
        *,
        features: Mapping[str, Value] | None = None,
        request_id: str | None = None,
        about: About | None = None,
    ) -> credit_pb2.CreditDecision:
        """Ask for a decision.

        Args:
            customer: (market, customer_id).
            amount: (amount, currency).
            features: Values that the caller may give, by name.
            request_id: A UUID; give the same one when you ask again. None makes a new one.
            about: Product, facts and language.
        """
        request = credit_pb2.ScoreCreditRequest(
            request_id=request_id or str(uuid.uuid4()),
            customer=customer_of(customer),
            requested_amount=money_of(*amount),
            features=feature_values(features or {}),
            **(about or About()).fields(),
        )
        answer: credit_pb2.ScoreCreditResponse = self.call(self.credit.ScoreCredit, request)
        return answer.credit_decision

    def simulate_credit(
        self,
        customer: tuple[str, str],
        amount: tuple[Decimal, str],
        *,
        features: Mapping[str, Value],
        about: About | None = None,
        counterfactuals: bool = False,
    ) -> credit_pb2.SimulateCreditResponse:
        """Ask what would be, with these values in place of the known ones. Decides nothing."""
        request = credit_pb2.SimulateCreditRequest(
            customer=customer_of(customer),
            requested_amount=money_of(*amount),
            features=feature_values(features),
            counterfactuals=counterfactuals,
            **(about or About()).fields(),
        )
        answer: credit_pb2.SimulateCreditResponse = self.call(self.credit.SimulateCredit, request)
        return answer

    def get_credit_decision(self, decision_id: str) -> credit_pb2.GetCreditDecisionResponse:
        """Read a decision as it was given, with what came after it."""
        request = credit_pb2.GetCreditDecisionRequest(decision_id=decision_id)
        answer: credit_pb2.GetCreditDecisionResponse = self.call(self.credit.GetCreditDecision, request)
        return answer

    def list_models(self, family: str = "") -> list[model_pb2.ModelSummary]:
        """Read the catalog; "" means all families."""
        return list(self.call(self.models.ListModels, model_pb2.ListModelsRequest(family=family)).models)

    def get_model(self, bundle_id: str) -> model_pb2.Model:
        """Read one bundle: schema, scorecard, metrics, card."""
        request = model_pb2.GetModelRequest(bundle_id=bundle_id)
        answer: model_pb2.GetModelResponse = self.call(self.models.GetModel, request)
        return answer.model

    def get_checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Read the log's newest signed checkpoint."""
        answer: audit_pb2.GetCheckpointResponse = self.call(self.audit.GetCheckpoint, audit_pb2.GetCheckpointRequest())
        return answer

    def get_inclusion_proof(self, record_id: str, *, tree_size: int = 0) -> audit_pb2.GetInclusionProofResponse:
        """Prove that a record is in the log; record_id is a decision's decision_id, 0 the newest tree."""
        request = audit_pb2.GetInclusionProofRequest(record_id=record_id, tree_size=tree_size)
        answer: audit_pb2.GetInclusionProofResponse = self.call(self.audit.GetInclusionProof, request)
        return answer

    def get_consistency_proof(self, old_size: int, *, new_size: int = 0) -> audit_pb2.GetConsistencyProofResponse:
        """Prove that the log of one size begins with that of another; 0 is the newest."""
        request = audit_pb2.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        answer: audit_pb2.GetConsistencyProofResponse = self.call(self.audit.GetConsistencyProof, request)
        return answer

    def get_range_proof(
        self, start: int, end: int, tree_size: int, kept_sizes: Sequence[int]
    ) -> audit_pb2.GetRangeProofResponse:
        """Read what proves the records [start, end), beside themselves."""
        request = audit_pb2.GetRangeProofRequest(start=start, end=end, tree_size=tree_size, kept_sizes=kept_sizes)
        answer: audit_pb2.GetRangeProofResponse = self.call(self.audit.GetRangeProof, request)
        return answer

    def list_records(self, start: int, end: int) -> Iterator[audit_pb2.StoredRecord]:
        """Read records as stored, page by page, as far as the caller iterates."""
        while start < end:
            page = self.call(self.audit.ListRecords, audit_pb2.ListRecordsRequest(start=start, end=end))
            yield from page.records
            if not page.next_start:
                return
            start = page.next_start

    def get_evidence(self, decision_id: str, purpose: str) -> audit_pb2.Evidence:
        """Read everything about one decision; the reading is recorded with its purpose, each time."""
        request = audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=purpose)
        answer: audit_pb2.GetEvidenceResponse = self.call(self.audit.GetEvidence, request)
        return answer.evidence

    def replay_decision(
        self, decision_id: str, purpose: str, *, modes: Sequence[evidence_pb2.ReplayMode] = (), bundle_id: str = ""
    ) -> audit_pb2.ReplayDecisionResponse:
        """Compute a decision again and compare; recorded as a reading. No modes are all that give evidence."""
        request = evidence_pb2.ReplayDecisionRequest(
            decision_id=decision_id, purpose=purpose, modes=modes, bundle_id=bundle_id
        )
        answer: audit_pb2.ReplayDecisionResponse = self.call(self.audit.ReplayDecision, request)
        return answer

    def get_churn_evidence(
        self, run_id: str, customer: tuple[str, str], purpose: str, *, locale: str = ""
    ) -> audit_pb2.ChurnEvidence:
        """Read everything that a run says of one customer, (market, customer_id); recorded as a reading."""
        request = churn_evidence_pb2.GetChurnEvidenceRequest(
            run_id=run_id, customer=customer_of(customer), purpose=purpose, locale=locale
        )
        answer: audit_pb2.GetChurnEvidenceResponse = self.call(self.audit.GetChurnEvidence, request)
        return answer.evidence

    def replay_churn_risk(
        self,
        run_id: str,
        customer: tuple[str, str],
        purpose: str,
        *,
        modes: Sequence[evidence_pb2.ReplayMode] = (),
        bundle_id: str = "",
    ) -> audit_pb2.ReplayChurnRiskResponse:
        """Compute a customer's risk again and compare; recorded as a reading."""
        request = churn_evidence_pb2.ReplayChurnRiskRequest(
            run_id=run_id, customer=customer_of(customer), purpose=purpose, modes=modes, bundle_id=bundle_id
        )
        answer: audit_pb2.ReplayChurnRiskResponse = self.call(self.audit.ReplayChurnRisk, request)
        return answer

    def list_decisions(
        self, condition: sample_pb2.DecisionFilter | None = None, *, page_size: int = PAGE_SIZE
    ) -> Iterator[sample_pb2.DecisionSummary]:
        """Read decisions, newest first, page by page, as far as the caller iterates."""
        token = ""
        while True:
            request = sample_pb2.ListDecisionsRequest(filter=condition, page_size=page_size, page_token=token)
            page = self.call(self.audit.ListDecisions, request)
            yield from page.decisions
            token = page.next_page_token
            if not token:
                return

    def sample_decisions(self, request: sample_pb2.SampleDecisionsRequest) -> sample_pb2.SampleDecisionsResponse:
        """Draw a sample; of millions of decisions it takes seconds, so its deadline is longer."""
        answer: sample_pb2.SampleDecisionsResponse = self.call(self.audit.SampleDecisions, request, SAMPLE_SECONDS_MAX)
        return answer

    def call(self, method: Callable[..., Answer], request: Message, seconds: float | None = None) -> Answer:
        """Call with a deadline."""
        try:
            return method(request, timeout=seconds or self.deadline_seconds)
        except grpc.RpcError as error:
            raise call_failed(error) from error

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def customer_of(customer: tuple[str, str]) -> Customer:
    """Write a customer."""
    market, customer_id = customer
    return Customer(market=market, customer_id=customer_id)


def money_of(amount: Decimal, currency: str) -> Money:
    """Write an exact amount.

    Raises:
        TypeError: It is no Decimal: a float is not exact.
        ValueError: It has more than nine decimals, or is larger than any amount.
    """
    if not isinstance(amount, Decimal):
        raise TypeError('an amount is a Decimal, such as Decimal("120000.50")')
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        raise ValueError(f"an amount is at most {AMOUNT_MAX:,}")
    nanos = amount * NANOS
    if nanos != nanos.to_integral_value():
        raise ValueError("an amount has at most nine decimals")
    units, rest = divmod(int(nanos), NANOS) if nanos >= 0 else (int(nanos) // NANOS, 0)
    return Money(currency_code=currency, units=units, nanos=rest)


def feature_values(features: Mapping[str, Value]) -> dict[str, FeatureValue]:
    """Write values: text is a level, anything else a number."""
    return {
        name: FeatureValue(level=value) if isinstance(value, str) else FeatureValue(number=value)
        for name, value in features.items()
    }
