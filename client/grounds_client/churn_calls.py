"""The calls of the CRM, typed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from grounds_client.errors import call_failed

PAGE_SIZE = 1000
EXPORT_SECONDS = 600.0  # a stream lasts as long as its reader takes
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Which:
    """Which customers a list shows.

    Attributes:
        order: Customers without a score stand by customer_id, whatever is said.
        risk_bands: None means all.
        value_at_risk_minor_min: In hundredths of the run's currency; None means all.
        status: Unspecified means those with a score.
    """

    order: churn_pb2.ChurnRiskOrder = churn_pb2.CHURN_RISK_ORDER_PROBABILITY
    risk_bands: Sequence[churn_pb2.RiskBand] = ()
    value_at_risk_minor_min: int | None = None
    status: churn_pb2.ChurnStatus = churn_pb2.CHURN_STATUS_UNSPECIFIED


ALL = Which()


class Caller(Protocol):
    """What the calls need of the client."""

    churn: churn_pb2_grpc.ChurnServiceStub

    def call(self, method: Callable[..., Answer], request: Message) -> Answer:
        """Call with a deadline."""


class ChurnCalls:
    """The calls of ChurnService; a part of Client. Every method raises CallFailed."""

    def get_churn_risk(self: Caller, customer: tuple[str, str], *, locale: str = "") -> churn_pb2.ChurnRisk:
        """Read one customer's risk with its explanation."""
        market, customer_id = customer
        wanted = Customer(market=market, customer_id=customer_id)
        request = churn_pb2.GetChurnRiskRequest(customer=wanted, locale=locale)
        answer: churn_pb2.GetChurnRiskResponse = self.call(self.churn.GetChurnRisk, request)
        return answer.churn_risk

    def batch_get_churn_risks(
        self: Caller, customers: Sequence[tuple[str, str]], *, locale: str = ""
    ) -> list[churn_pb2.ChurnRisk]:
        """Read up to 1,000 customers, all or none, in this order."""
        wanted = [Customer(market=market, customer_id=customer_id) for market, customer_id in customers]
        request = churn_pb2.BatchGetChurnRisksRequest(customers=wanted, locale=locale)
        return list(self.call(self.churn.BatchGetChurnRisks, request).churn_risks)

    def list_churn_risks(
        self: Caller, market: str, *, which: Which = ALL, page_size: int = PAGE_SIZE, locale: str = ""
    ) -> Iterator[churn_pb2.ChurnRisk]:
        """Read a market's customers in order, page by page, as far as the caller iterates."""
        request = churn_pb2.ListChurnRisksRequest(
            market=market,
            page_size=page_size,
            order=which.order,
            locale=locale,
            risk_bands=which.risk_bands,
            value_at_risk_minor_min=which.value_at_risk_minor_min,
            status=which.status,
        )
        while True:
            page = self.call(self.churn.ListChurnRisks, request)
            yield from page.churn_risks
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def list_churn_risk_changes(
        self: Caller, market: str, *, page_token: str = "", delta_token: str = "", locale: str = ""
    ) -> churn_pb2.ListChurnRiskChangesResponse:
        """Read one page of a sync: from the beginning without a token, or what comes after a token.

        A page has a next_page_token or, at the end, a delta_token. CallFailed with reason RESYNC_REQUIRED
        means: drop the copy and begin again without a token.
        """
        request = churn_pb2.ListChurnRiskChangesRequest(market=market, page_size=PAGE_SIZE, locale=locale)
        if page_token:
            request.page_token = page_token
        elif delta_token:
            request.delta_token = delta_token
        answer: churn_pb2.ListChurnRiskChangesResponse = self.call(self.churn.ListChurnRiskChanges, request)
        return answer

    def export_churn_risks(
        self: Caller, market: str, *, resume_token: str = "", locale: str = "", seconds: float = EXPORT_SECONDS
    ) -> Iterator[churn_pb2.ExportChurnRisksResponse]:
        """Read every customer of the newest run as Arrow, part by part; go on after a part's resume_token."""
        request = churn_pb2.ExportChurnRisksRequest(market=market, resume_token=resume_token, locale=locale)
        try:
            yield from self.churn.ExportChurnRisks(request, timeout=seconds)
        except grpc.RpcError as error:
            raise call_failed(error) from error

    def list_churn_runs(self: Caller) -> list[churn_pb2.ChurnRun]:
        """Read the newest run of every market that has one."""
        return list(self.call(self.churn.ListChurnRuns, churn_pb2.ListChurnRunsRequest()).runs)
