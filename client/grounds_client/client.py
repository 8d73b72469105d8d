"""`Client`: every call of the gRPC contract as a method that accepts plain values and returns generated messages."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.type.date_pb2 import Date

from grounds.audit.v1 import (
    activation_pb2,
    audit_pb2,
    audit_pb2_grpc,
    bodies_pb2,
    churn_evidence_pb2,
    evidence_pb2,
    sample_pb2,
)
from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds.model.v1 import model_pb2, model_pb2_grpc
from grounds_client.channel import DEFAULT_ADDRESS, ClientCredentials, open_channel
from grounds_client.errors import CallFailed
from grounds_client.money import Amount

BATCH_REQUESTS_MAX = 500  # the most that the server accepts in one batch
DEFAULT_PAGE_SIZE = 1000  # the most that the server returns on a page
_CONTACTS_PAGE_SIZE = 100  # the most contacts or decisions about one customer that the server returns on a page
_DEADLINE_SECONDS = 5.0
_BATCH_DEADLINE_SECONDS = 60.0
_SAMPLE_DEADLINE_SECONDS = 60.0  # drawing from millions of decisions takes seconds
_EXPORT_DEADLINE_SECONDS = 600.0  # includes the time that the reader of the stream needs
Value = float | str  # a value of a feature or fact: a number, or the name of a level
OutcomeEvent = credit_pb2.Booked | credit_pb2.DaysPastDue | credit_pb2.Default | credit_pb2.Cure
_Response = TypeVar("_Response")


@dataclass(frozen=True)
class CreditRequest:
    """A request for a credit decision.

    Attributes:
        market: The country, two uppercase letters.
        customer_id: The customer in that market.
        amount: The requested amount.
        features: Feature values that the caller provides, by name. A string is a level; any other value is a number.
        product: The name of the product in the policy; "" means the standard product.
        facts: Facts that the policy's rules ask the caller for, by name.
        locale: Language of the reasons, such as "de"; "" means English.
        request_id: A UUID that makes the request safe to repeat.
    """

    market: str
    customer_id: str
    amount: Amount
    features: Mapping[str, Value] = field(default_factory=dict)
    product: str = ""
    facts: Mapping[str, Value] = field(default_factory=dict)
    locale: str = ""
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def to_message(self) -> credit_pb2.ScoreCreditRequest:
        """Return the request as a message."""
        return credit_pb2.ScoreCreditRequest(
            request_id=self.request_id,
            customer=Customer(market=self.market, customer_id=self.customer_id),
            requested_amount=self.amount.to_money(),
            features=_feature_values(self.features),
            product=self.product,
            facts=_feature_values(self.facts),
            locale=self.locale,
        )


class Client:
    """A connection to one server.

    Threads may share a client. Use it in a `with` block, or call `close`.

    Deadlines: a call that the server does not answer within `deadline_seconds` fails with DEADLINE_EXCEEDED.
    `batch_score_credit`, `sample_decisions` and `export_churn_risks` have longer deadlines of their own.

    Retries: if a call fails with UNAVAILABLE, or if a stopping server cancels the call, gRPC repeats the call. gRPC
    makes up to five attempts within the deadline, with growing, jittered pauses. No other failure is retried. After
    DEADLINE_EXCEEDED, repeat `score_credit`, `record_override`, `record_outcome` or `record_contact` with the same `request_id`: if the
    server recorded an answer to the first call, it returns that answer.

    Errors: every method raises CallFailed. A method that returns an iterator raises it when the iterator is read.

    Args:
        address: Host and port of the server.
        credentials: The files for TLS; None for a server on this machine that does not use TLS. If a file cannot be
            read, OSError is raised.
        deadline_seconds: The deadline of one call; of a paged list, the deadline of one page.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        credentials: ClientCredentials | None = None,
        deadline_seconds: float = _DEADLINE_SECONDS,
    ) -> None:
        self._channel = open_channel(address, credentials)
        self._deadline_seconds = deadline_seconds
        self._credit = credit_pb2_grpc.CreditServiceStub(self._channel)
        self._churn = churn_pb2_grpc.ChurnServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> "Client":  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # CreditService

    def score_credit(
        self,
        market: str,
        customer_id: str,
        amount: Amount,
        *,
        features: Mapping[str, Value] | None = None,
        product: str = "",
        facts: Mapping[str, Value] | None = None,
        locale: str = "",
        request_id: str | None = None,
    ) -> credit_pb2.CreditDecision:
        """Request a credit decision. The server records it.

        Args:
            market: The country, two uppercase letters.
            customer_id: The customer in that market.
            amount: The requested amount.
            features: Feature values that the caller provides, by name. A string is a level; any other value is a
                number.
            product: The name of the product in the policy; "" means the standard product.
            facts: Facts that the policy's rules ask the caller for, by name.
            locale: Language of the reasons, such as "de"; "" means English.
            request_id: A UUID that makes the call safe to repeat; None generates one.
        """
        request = CreditRequest(
            market,
            customer_id,
            amount,
            features=features or {},
            product=product,
            facts=facts or {},
            locale=locale,
            request_id=request_id or str(uuid.uuid4()),
        )
        response: credit_pb2.ScoreCreditResponse = self._call(self._credit.ScoreCredit, request.to_message())
        return response.credit_decision

    def batch_score_credit(
        self, requests: Sequence[CreditRequest], *, deadline_seconds: float = _BATCH_DEADLINE_SECONDS
    ) -> Iterator[credit_pb2.CreditDecision | CallFailed]:
        """Request up to 500 decisions. Yield one answer for each request, in order: the decision, or its own error.

        If the call ends early, the iterator raises CallFailed. Repeat the requests without an answer with the same
        request_ids: the server decides none of them twice.

        Args:
            requests: The requests.
            deadline_seconds: The deadline of the whole call.
        """
        batch = credit_pb2.BatchScoreCreditRequest(requests=[request.to_message() for request in requests])
        try:
            for part in self._credit.BatchScoreCredit(batch, timeout=deadline_seconds):
                for result in part.results:
                    is_decision = result.HasField("credit_decision")
                    yield result.credit_decision if is_decision else CallFailed.from_status(result.error)
        except grpc.RpcError as error:
            raise CallFailed.from_rpc_error(error) from error

    def simulate_credit(
        self,
        market: str,
        customer_id: str,
        amount: Amount,
        *,
        features: Mapping[str, Value] | None = None,
        product: str = "",
        facts: Mapping[str, Value] | None = None,
        locale: str = "",
        counterfactuals: bool = False,
    ) -> credit_pb2.SimulateCreditResponse:
        """Return two assessments: one with the known feature values, and one in which `features` replaces some of them.

        Nothing is recorded.

        Args:
            market: The country, two uppercase letters.
            customer_id: The customer in that market.
            amount: The requested amount.
            features: Values that replace known ones, by name; any feature of the model may be replaced.
            product: As in `score_credit`.
            facts: As in `score_credit`.
            locale: As in `score_credit`.
            counterfactuals: Whether to search for changes that lead to approval.
        """
        request = credit_pb2.SimulateCreditRequest(
            customer=Customer(market=market, customer_id=customer_id),
            requested_amount=amount.to_money(),
            features=_feature_values(features),
            product=product,
            facts=_feature_values(facts),
            locale=locale,
            counterfactuals=counterfactuals,
        )
        response: credit_pb2.SimulateCreditResponse = self._call(self._credit.SimulateCredit, request)
        return response

    def get_credit_decision(self, decision_id: str, *, notice_locale: str = "") -> credit_pb2.GetCreditDecisionResponse:
        """Return a decision as it was made, with the overrides and outcomes recorded since.

        Args:
            decision_id: The id of the decision.
            notice_locale: The language of `notice` as a BCP 47 tag. The notice states the reasons, and what would have
                changed the decision. "" requests no notice.
        """
        request = credit_pb2.GetCreditDecisionRequest(decision_id=decision_id, notice_locale=notice_locale)
        response: credit_pb2.GetCreditDecisionResponse = self._call(self._credit.GetCreditDecision, request)
        return response

    def list_customer_decisions(
        self, market: str, customer_id: str, *, page_size: int = 0
    ) -> Iterator[credit_pb2.CustomerDecision]:
        """Yield the decisions about one customer, newest first. Pages are fetched while the caller iterates.

        Args:
            market: The customer's market.
            customer_id: The customer's id.
            page_size: Decisions fetched with one call, up to 100; 0 means 20.
        """
        token = ""
        while True:
            page = self.list_customer_decisions_page(market, customer_id, page_size=page_size, page_token=token)
            yield from page.decisions
            token = page.next_page_token
            if not token:
                return

    def list_customer_decisions_page(
        self, market: str, customer_id: str, *, page_size: int = 0, page_token: str = ""
    ) -> credit_pb2.ListCustomerDecisionsResponse:
        """Return one page of the decisions about one customer, newest first.

        Args:
            market: The customer's market.
            customer_id: The customer's id.
            page_size: Decisions on the page, up to 100; 0 means 20.
            page_token: The next_page_token of the previous page; "" for the first page.
        """
        request = credit_pb2.ListCustomerDecisionsRequest(
            customer=Customer(market=market, customer_id=customer_id), page_size=page_size, page_token=page_token
        )
        response: credit_pb2.ListCustomerDecisionsResponse = self._call(self._credit.ListCustomerDecisions, request)
        return response

    def record_override(
        self,
        decision_id: str,
        decision: credit_pb2.Decision,
        *,
        reason_code: str,
        user_id: str,
        user_role: str,
        authority_limit: Amount,
        granted_amount: Amount | None = None,
        second_user_id: str = "",
        comment: str = "",
        locale: str = "",
        previous_override_id: str | None = None,
        request_id: str | None = None,
    ) -> credit_pb2.Override:
        """Record that a person replaces the policy's decision, or decides a case that the policy referred to a person.

        Args:
            decision_id: The decision to override.
            decision: The new decision: APPROVE, APPROVE_REDUCED or DECLINE.
            reason_code: One of the policy's override reasons.
            user_id: Your own identifier of the person who decides.
            user_role: The person's role, an uppercase name such as CREDIT_MANAGER.
            authority_limit: The largest amount that this person may grant.
            granted_amount: The granted amount; required with APPROVE_REDUCED and invalid otherwise.
            second_user_id: The second person who agrees, if the policy requires one; "" otherwise.
            comment: Free text.
            locale: Language of the reason's text, such as "de"; "" means English.
            previous_override_id: The override in force that the person saw, or "" if they saw none: if another one is in force,
                this one is rejected. None means that this is not checked.
            request_id: A UUID that makes the call safe to repeat; None generates one.

        Raises:
            CallFailed: The override is invalid (reason OVERRIDE_INVALID); `problems` lists every invalid field.
        """
        request = credit_pb2.RecordOverrideRequest(
            request_id=request_id or str(uuid.uuid4()),
            decision_id=decision_id,
            decision=decision,
            granted_amount=None if granted_amount is None else granted_amount.to_money(),
            reason_code=reason_code,
            user_id=user_id,
            user_role=user_role,
            authority_limit=authority_limit.to_money(),
            second_user_id=second_user_id,
            comment=comment,
            locale=locale,
            previous_override_id=previous_override_id,
        )
        response: credit_pb2.RecordOverrideResponse = self._call(self._credit.RecordOverride, request)
        return response.override

    def record_outcome(
        self,
        decision_id: str,
        event_date: dt.date,
        event: OutcomeEvent,
        *,
        corrects_outcome_id: str = "",
        request_id: str | None = None,
    ) -> credit_pb2.Outcome:
        """Record what happened to a loan after the decision.

        Args:
            decision_id: The decision that the loan followed.
            event_date: The day on which the event happened.
            event: One of the messages Booked, DaysPastDue, Default and Cure.
            corrects_outcome_id: The outcome that this one replaces; "" if none.
            request_id: A UUID that makes the call safe to repeat; None generates one.

        Raises:
            CallFailed: The outcome is invalid (reason OUTCOME_INVALID); `problems` lists every invalid field.
        """
        request = credit_pb2.RecordOutcomeRequest(
            request_id=request_id or str(uuid.uuid4()),
            decision_id=decision_id,
            event_date=Date(year=event_date.year, month=event_date.month, day=event_date.day),
            booked=event if isinstance(event, credit_pb2.Booked) else None,
            days_past_due=event if isinstance(event, credit_pb2.DaysPastDue) else None,
            default=event if isinstance(event, credit_pb2.Default) else None,
            cure=event if isinstance(event, credit_pb2.Cure) else None,
            corrects_outcome_id=corrects_outcome_id,
        )
        response: credit_pb2.RecordOutcomeResponse = self._call(self._credit.RecordOutcome, request)
        return response.outcome

    def get_policy(self, *, market: str = "", product: str = "", locale: str = "") -> credit_pb2.GetPolicyResponse:
        """Return the sections of the policy that are in force today or begin later.

        The sections state what callers may send.

        Args:
            market: Only this country, two uppercase letters; "" means all.
            product: Only this product; "" means all.
            locale: Language of the texts, such as "de"; "" means English.

        Raises:
            CallFailed: The policy has no section for this market and product (reason NO_POLICY).
        """
        request = credit_pb2.GetPolicyRequest(market=market, product=product, locale=locale)
        response: credit_pb2.GetPolicyResponse = self._call(self._credit.GetPolicy, request)
        return response

    # ChurnService

    def get_churn_risk(
        self, market: str, customer_id: str, *, locale: str = "", family: str = ""
    ) -> churn_pb2.ChurnRisk:
        """Return one customer's prediction from the newest scoring run, with its explanation."""
        request = churn_pb2.GetChurnRiskRequest(
            customer=Customer(market=market, customer_id=customer_id), locale=locale, family=family
        )
        response: churn_pb2.GetChurnRiskResponse = self._call(self._churn.GetChurnRisk, request)
        return response.churn_risk

    def batch_get_churn_risks(
        self, customers: Sequence[tuple[str, str]], *, locale: str = "", family: str = ""
    ) -> list[churn_pb2.ChurnRisk]:
        """Return the predictions of up to 1,000 customers, in the order of the argument.

        The whole call fails if one customer is unknown.

        Args:
            customers: Pairs of market and customer_id.
            locale: Language of the drivers.
            family: The model family; "" means churn, or the only family of each market.
        """
        request = churn_pb2.BatchGetChurnRisksRequest(
            customers=[Customer(market=market, customer_id=customer_id) for market, customer_id in customers],
            locale=locale,
            family=family,
        )
        return list(self._call(self._churn.BatchGetChurnRisks, request).churn_risks)

    def list_churn_risks(
        self,
        market: str,
        *,
        order: churn_pb2.ChurnRiskOrder = churn_pb2.CHURN_RISK_ORDER_PROBABILITY,
        risk_bands: Sequence[churn_pb2.RiskBand] = (),
        value_at_risk_minor_min: int | None = None,
        status: churn_pb2.ChurnStatus = churn_pb2.CHURN_STATUS_UNSPECIFIED,
        page_size: int = DEFAULT_PAGE_SIZE,
        locale: str = "",
        include_withheld: bool = False,
        family: str = "",
    ) -> Iterator[churn_pb2.ChurnRisk]:
        """Yield a market's predictions, the highest first. Pages are fetched while the caller iterates.

        Args:
            market: The country, two uppercase letters.
            order: The quantity that determines the order. Customers without a score are always ordered by customer_id.
            risk_bands: Only these bands; empty means all.
            value_at_risk_minor_min: Only customers with at least this value at risk, in hundredths of the run's
                currency; None means all.
            status: Only this status; unspecified means customers with a score.
            page_size: Customers fetched with one call, up to 1,000.
            locale: Language of the drivers.
            family: The model family; "" means churn, or the only family of the market.
            include_withheld: Whether to include withheld customers (held out or suppressed).
        """
        request = churn_pb2.ListChurnRisksRequest(
            market=market,
            page_size=page_size,
            order=order,
            locale=locale,
            risk_bands=risk_bands,
            value_at_risk_minor_min=value_at_risk_minor_min,
            status=status,
            include_withheld=include_withheld,
            family=family,
        )
        while True:
            page = self._call(self._churn.ListChurnRisks, request)
            yield from page.churn_risks
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def list_churn_risk_changes(
        self,
        market: str,
        *,
        page_token: str = "",
        delta_token: str = "",
        page_size: int = DEFAULT_PAGE_SIZE,
        locale: str = "",
        include_withheld: bool = False,
        family: str = "",
    ) -> churn_pb2.ListChurnRiskChangesResponse:
        """Return one page of a synchronisation.

        A call without a token starts a full synchronisation, which returns all customers. The last page has a
        delta_token for the next synchronisation; every other page has a next_page_token.

        Args:
            market: The country, two uppercase letters.
            page_token: The next_page_token of the previous page.
            delta_token: The delta_token of an earlier synchronisation, to read only what changed since.
            page_size: Customers on a page, up to 1,000.
            locale: Language of the drivers.
            family: The model family; "" means churn, or the only family of the market.
            include_withheld: Whether to include withheld customers (held out or suppressed).

        Raises:
            CallFailed: The server no longer has the changes (reason RESYNC_REQUIRED). Discard your copy of the market,
                and call without a token.
        """
        request = churn_pb2.ListChurnRiskChangesRequest(
            market=market, page_size=page_size, locale=locale, include_withheld=include_withheld, family=family
        )
        if page_token:
            request.page_token = page_token
        elif delta_token:
            request.delta_token = delta_token
        response: churn_pb2.ListChurnRiskChangesResponse = self._call(self._churn.ListChurnRiskChanges, request)
        return response

    def export_churn_risks(
        self,
        market: str,
        *,
        resume_token: str = "",
        locale: str = "",
        include_withheld: bool = False,
        family: str = "",
        deadline_seconds: float = _EXPORT_DEADLINE_SECONDS,
    ) -> Iterator[churn_pb2.ExportChurnRisksResponse]:
        """Yield all customers of the newest run as Arrow streams, part by part.

        Args:
            market: The country, two uppercase letters.
            resume_token: The resume_token of the last part received, to continue after it; "" starts with the first
                part.
            locale: Language of the drivers.
            family: The model family; "" means churn, or the only family of the market.
            include_withheld: Whether to include withheld customers (held out or suppressed).
            deadline_seconds: The deadline of the whole stream.
        """
        request = churn_pb2.ExportChurnRisksRequest(
            market=market,
            resume_token=resume_token,
            locale=locale,
            compression=churn_pb2.EXPORT_COMPRESSION_ZSTD,
            include_withheld=include_withheld,
            family=family,
        )
        try:
            yield from self._churn.ExportChurnRisks(request, timeout=deadline_seconds)
        except grpc.RpcError as error:
            raise CallFailed.from_rpc_error(error) from error

    def list_churn_runs(self) -> list[churn_pb2.ChurnRun]:
        """Return the newest scoring run of every market and family that has one."""
        return list(self._call(self._churn.ListChurnRuns, churn_pb2.ListChurnRunsRequest()).runs)

    def list_churn_band_counts(
        self, market: str, *, family: str = "", run_count_max: int = 0
    ) -> churn_pb2.ListChurnBandCountsResponse:
        """Return how many customers are in each risk band, for the newest runs of a market and family, newest first.

        Args:
            market: The country.
            family: The model family; "" means churn, or the only family of the market.
            run_count_max: How many runs are counted at most; 0 means 26, and the server counts at most 100.
        """
        request = churn_pb2.ListChurnBandCountsRequest(market=market, family=family, run_count_max=run_count_max)
        response: churn_pb2.ListChurnBandCountsResponse = self._call(self._churn.ListChurnBandCounts, request)
        return response

    def record_contact(
        self,
        market: str,
        customer_id: str,
        run_id: str,
        channel: churn_pb2.ContactChannel,
        contact_time: dt.datetime,
        *,
        campaign: str = "",
        corrects_contact_id: str = "",
        request_id: str | None = None,
    ) -> churn_pb2.Contact:
        """Record that a customer of a scoring run was contacted.

        Args:
            market: Country, two uppercase letters.
            customer_id: The customer's number in that market.
            run_id: The run whose prediction led to the contact.
            channel: How the customer was contacted; CONTACT_CHANNEL_NONE withdraws the contact that this one corrects.
            contact_time: When the customer was contacted; must have a time zone.
            campaign: The campaign; "" means the campaign of the run.
            corrects_contact_id: The contact that this one replaces; "" if none.
            request_id: A UUID that makes the call safe to repeat; None generates one.

        Raises:
            CallFailed: The contact is invalid (reason CONTACT_INVALID); `problems` lists every invalid field.
        """
        request = churn_pb2.RecordContactRequest(
            request_id=request_id or str(uuid.uuid4()),
            customer=Customer(market=market, customer_id=customer_id),
            run_id=run_id,
            channel=channel,
            campaign=campaign,
            corrects_contact_id=corrects_contact_id,
        )
        request.contact_time.FromDatetime(contact_time)
        response: churn_pb2.RecordContactResponse = self._call(self._churn.RecordContact, request)
        return response.contact

    def list_contacts(self, market: str, customer_id: str) -> Iterator[churn_pb2.RecordedContact]:
        """Yield the recorded contacts with a customer, newest first. Pages are fetched while the caller iterates."""
        token = ""
        while True:
            page = self.list_contacts_page(market, customer_id, page_size=_CONTACTS_PAGE_SIZE, page_token=token)
            yield from page.contacts
            if not page.next_page_token:
                return
            token = page.next_page_token

    def list_contacts_page(
        self, market: str, customer_id: str, *, page_size: int = 0, page_token: str = ""
    ) -> churn_pb2.ListContactsResponse:
        """Return one page of the contacts with a customer, newest first. `page_token` is that of the page before."""
        request = churn_pb2.ListContactsRequest(
            customer=Customer(market=market, customer_id=customer_id), page_size=page_size, page_token=page_token
        )
        response: churn_pb2.ListContactsResponse = self._call(self._churn.ListContacts, request)
        return response

    # ModelService

    def list_models(self, family: str = "") -> list[model_pb2.ModelSummary]:
        """Return the bundles of the catalog, rejected ones included; "" means all families."""
        return list(self._call(self._models.ListModels, model_pb2.ListModelsRequest(family=family)).models)

    def get_model(self, bundle_id: str) -> model_pb2.Model:
        """Return one bundle: feature schema, scorecard, metrics, model card."""
        request = model_pb2.GetModelRequest(bundle_id=bundle_id)
        response: model_pb2.GetModelResponse = self._call(self._models.GetModel, request)
        return response.model

    def get_model_report(self, bundle_id: str) -> model_pb2.GetModelReportResponse:
        """Return the report that training wrote about a bundle, as HTML. Show it without scripts, in a sandbox."""
        request = model_pb2.GetModelReportRequest(bundle_id=bundle_id)
        response: model_pb2.GetModelReportResponse = self._call(self._models.GetModelReport, request)
        return response

    def find_model(self, bundle_id: str) -> model_pb2.Model | None:
        """Return the model that an answer names, which describes the answer's features; None if it cannot be read.

        A failed call raises no error, because the answer is complete without the descriptions. The usual reasons for
        None: the answer has no score and names no bundle (bundle_id ""), the catalog no longer has the bundle, or this
        caller may not read models.
        """
        try:
            return self.get_model(bundle_id) if bundle_id else None
        except CallFailed:
            return None

    # AuditService

    def get_checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Return the record log's newest signed checkpoint."""
        response: audit_pb2.GetCheckpointResponse = self._call(
            self._audit.GetCheckpoint, audit_pb2.GetCheckpointRequest()
        )
        return response

    def get_inclusion_proof(self, record_id: str, *, tree_size: int = 0) -> audit_pb2.GetInclusionProofResponse:
        """Return the proof that a record is in the record log.

        Args:
            record_id: The id of the record; for a decision it is the decision_id.
            tree_size: The number of records of the tree to prove against; 0 means the newest tree.
        """
        request = audit_pb2.GetInclusionProofRequest(record_id=record_id, tree_size=tree_size)
        response: audit_pb2.GetInclusionProofResponse = self._call(self._audit.GetInclusionProof, request)
        return response

    def get_consistency_proof(self, old_size: int, *, new_size: int = 0) -> audit_pb2.GetConsistencyProofResponse:
        """Return the proof that the tree of `new_size` records extends the tree of `old_size` records.

        If `new_size` is 0, it means the size of the newest tree.
        """
        request = audit_pb2.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        response: audit_pb2.GetConsistencyProofResponse = self._call(self._audit.GetConsistencyProof, request)
        return response

    def get_range_proof(
        self, start: int, end: int, tree_size: int, *, checkpoint_sizes: Sequence[int] = ()
    ) -> audit_pb2.GetRangeProofResponse:
        """Return the proof that is needed to verify the records [start, end).

        Args:
            start: Index of the first record, from 0.
            end: Index after the last record.
            tree_size: The number of records of the tree to prove against.
            checkpoint_sizes: Sizes of earlier checkpoints. The proof also shows that the tree extends each of their
                trees.
        """
        request = audit_pb2.GetRangeProofRequest(start=start, end=end, tree_size=tree_size, kept_sizes=checkpoint_sizes)
        response: audit_pb2.GetRangeProofResponse = self._call(self._audit.GetRangeProof, request)
        return response

    def list_records(self, start: int, end: int) -> Iterator[audit_pb2.StoredRecord]:
        """Yield the records [start, end) as stored. Pages are fetched while the caller iterates."""
        while start < end:
            page = self._call(self._audit.ListRecords, audit_pb2.ListRecordsRequest(start=start, end=end))
            yield from page.records
            if not page.next_start:
                return
            start = page.next_start

    def get_evidence(self, decision_id: str, purpose: str) -> audit_pb2.Evidence:
        """Return everything recorded about one decision. The server records the reading and its purpose."""
        request = audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=purpose)
        response: audit_pb2.GetEvidenceResponse = self._call(self._audit.GetEvidence, request)
        return response.evidence

    def replay_decision(
        self, decision_id: str, purpose: str, *, modes: Sequence[evidence_pb2.ReplayMode] = (), bundle_id: str = ""
    ) -> audit_pb2.ReplayDecisionResponse:
        """Recompute a decision on the server and compare it with the record.

        The server records the reading and its purpose.

        Args:
            decision_id: The decision.
            purpose: Why the decision is read; must not identify a customer.
            modes: What to compare; empty means all modes except REPLAY_MODE_WHAT_IF, which is not evidence.
            bundle_id: The bundle that REPLAY_MODE_WHAT_IF uses.
        """
        request = evidence_pb2.ReplayDecisionRequest(
            decision_id=decision_id, purpose=purpose, modes=modes, bundle_id=bundle_id
        )
        response: audit_pb2.ReplayDecisionResponse = self._call(self._audit.ReplayDecision, request)
        return response

    def get_churn_evidence(
        self, run_id: str, market: str, customer_id: str, purpose: str, *, locale: str = ""
    ) -> audit_pb2.ChurnEvidence:
        """Return everything recorded about one customer in one scoring run.

        The server records the reading and its purpose.
        """
        request = churn_evidence_pb2.GetChurnEvidenceRequest(
            run_id=run_id,
            customer=Customer(market=market, customer_id=customer_id),
            purpose=purpose,
            locale=locale,
        )
        response: audit_pb2.GetChurnEvidenceResponse = self._call(self._audit.GetChurnEvidence, request)
        return response.evidence

    def replay_churn_risk(
        self,
        run_id: str,
        market: str,
        customer_id: str,
        purpose: str,
        *,
        modes: Sequence[evidence_pb2.ReplayMode] = (),
        bundle_id: str = "",
    ) -> audit_pb2.ReplayChurnRiskResponse:
        """Recompute a prediction of a run and compare it with the record.

        The options are those of `replay_decision`.
        """
        request = churn_evidence_pb2.ReplayChurnRiskRequest(
            run_id=run_id,
            customer=Customer(market=market, customer_id=customer_id),
            purpose=purpose,
            modes=modes,
            bundle_id=bundle_id,
        )
        response: audit_pb2.ReplayChurnRiskResponse = self._call(self._audit.ReplayChurnRisk, request)
        return response

    def list_decisions(
        self,
        decision_filter: sample_pb2.DecisionFilter | None = None,
        *,
        customer_id: str = "",
        purpose: str = "",
        page_size: int = DEFAULT_PAGE_SIZE,
    ) -> Iterator[sample_pb2.DecisionSummary]:
        """Yield decisions, newest first. Pages are fetched while the caller iterates.

        Args:
            decision_filter: Which decisions to list; None means all.
            customer_id: Only decisions about this customer of the filter's market. The server records each page as a
                reading of evidence.
            purpose: Why they are read; required with `customer_id`.
            page_size: Decisions fetched with one call, up to 1,000.
        """
        token = ""
        while True:
            page = self.list_decisions_page(
                decision_filter, customer_id=customer_id, purpose=purpose, page_size=page_size, page_token=token
            )
            yield from page.decisions
            token = page.next_page_token
            if not token:
                return

    def list_activations(
        self,
        *,
        market: str = "",
        family: str = "",
        at: dt.datetime | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
    ) -> Iterator[activation_pb2.Activation]:
        """Yield the changes of bundles and policies, newest first. Pages are fetched while the caller iterates.

        Args:
            market: Only changes that concern this market; "" means all.
            family: Only changes of this model family and of the policy; "" means all.
            at: Only what was in force at this time, which must have a time zone; None means the whole history.
            page_size: Changes fetched with one call, up to 1,000.
        """
        request = activation_pb2.ListActivationsRequest(market=market, family=family, page_size=page_size)
        if at is not None:
            request.at_time.FromDatetime(at)
        while True:
            page = self._call(self._audit.ListActivations, request)
            yield from page.activations
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def list_decisions_page(
        self,
        decision_filter: sample_pb2.DecisionFilter | None = None,
        *,
        customer_id: str = "",
        purpose: str = "",
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str = "",
    ) -> sample_pb2.ListDecisionsResponse:
        """Return one page of decisions, newest first.

        Args:
            decision_filter: Which decisions to list; None means all.
            customer_id: Only decisions about this customer of the filter's market. The server records the page as a
                reading of evidence.
            purpose: Why they are read; required with `customer_id`.
            page_size: Decisions on the page, up to 1,000.
            page_token: The next_page_token of the previous page; "" for the first page.
        """
        request = sample_pb2.ListDecisionsRequest(
            filter=decision_filter,
            customer_id=customer_id,
            purpose=purpose,
            page_size=page_size,
            page_token=page_token,
        )
        response: sample_pb2.ListDecisionsResponse = self._call(self._audit.ListDecisions, request)
        return response

    def count_refused_calls(
        self, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> list[bodies_pb2.RefusedCalls]:
        """Return the numbers of calls that were denied or refused, by caller, method and reason, the largest first.

        Args:
            start: Count only calls that were recorded at or after this time, which must have a time zone; None for all.
            end: Count only calls that were recorded before this time; None for all.
        """
        request, counts = audit_pb2.CountRefusedCallsRequest(), Counter[tuple[str, str, str]]()
        if start is not None:
            request.start_time.FromDatetime(start)
        if end is not None:
            request.end_time.FromDatetime(end)
        while True:
            page = self._call(self._audit.CountRefusedCalls, request)
            for each in page.refusals:
                counts[each.caller, each.method, each.reason] += each.count
            if not page.HasField("next_end_time"):
                break
            request.end_time.CopyFrom(page.next_end_time)
        return [
            bodies_pb2.RefusedCalls(caller=caller, method=method, reason=reason, count=count)
            for (caller, method, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]

    def sample_decisions(
        self,
        seed: str,
        *,
        size: int,
        stratify_by: Sequence[sample_pb2.StratumKey] = (),
        tree_size: int = 0,
        decision_filter: sample_pb2.DecisionFilter | None = None,
    ) -> sample_pb2.SampleDecisionsResponse:
        """Return a random sample of decisions that the same seed and tree size reproduce. The deadline is one minute.

        Args:
            seed: 1 to 128 characters; choose it after the population is fixed.
            size: Number of decisions to draw from each stratum, 1 to 1,000; at most 20,000 are drawn from all strata
                together.
            stratify_by: The keys that divide the decisions into strata, each at most once; empty means one stratum.
            tree_size: The number of records of the record log to draw from; 0 means all.
            decision_filter: Which decisions to draw from; None means all.
        """
        request = sample_pb2.SampleDecisionsRequest(
            filter=decision_filter, seed=seed, size=size, tree_size=tree_size, stratify_by=stratify_by
        )
        response: sample_pb2.SampleDecisionsResponse = self._call(
            self._audit.SampleDecisions, request, deadline_seconds=_SAMPLE_DEADLINE_SECONDS
        )
        return response

    def _call(
        self, method: Callable[..., _Response], request: Message, *, deadline_seconds: float | None = None
    ) -> _Response:
        """Call a method with a deadline. If the deadline is None, the client's deadline applies."""
        try:
            return method(request, timeout=deadline_seconds or self._deadline_seconds)
        except grpc.RpcError as error:
            raise CallFailed.from_rpc_error(error) from error


def parse_value(text: str) -> Value:
    """Return a value written as text: a level if it is in double quotes or is not a number."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text


def _feature_values(values: Mapping[str, Value] | None) -> dict[str, FeatureValue]:
    """Return values as messages. A string becomes a level; any other value becomes a number."""
    return {
        name: FeatureValue(level=value) if isinstance(value, str) else FeatureValue(number=value)
        for name, value in (values or {}).items()
    }
