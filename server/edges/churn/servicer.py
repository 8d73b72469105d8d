"""ChurnService: returns the predictions of loaded scoring runs, and records contacts. No prediction is computed during a call."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.churn.v1 import churn_pb2_grpc
from server.edges.churn.contact_history import ContactHistory
from server.edges.churn.contacts import ContactRecorder
from server.edges.churn.messages import (
    RiskWriter,
    band_counts_message,
    require_newest_run,
    risk_explanation_message,
    risk_messages,
    run_message,
)
from server.edges.churn.synchronization import Synchronization
from server.edges.identity.callers import Caller
from server.edges.page_tokens import ExportCursor, PageTokens, RiskPageCursor, page_size
from server.edges.received_request import ReceivedRequest
from server.edges.thread_pool import StoreThreads
from server.errors import CustomerUnknown, PageTokenInvalid
from server.stores.runs.changes import ChangeStore
from server.stores.runs.predictions import (
    SCORED,
    PredictionCursor,
    PredictionOrder,
    PredictionQuery,
    PredictionStore,
    ScoringRun,
)

_ORDERS: dict[int, PredictionOrder] = {
    pb.CHURN_RISK_ORDER_UNSPECIFIED: "PROBABILITY",
    pb.CHURN_RISK_ORDER_PROBABILITY: "PROBABILITY",
    pb.CHURN_RISK_ORDER_VALUE_AT_RISK: "VALUE_AT_RISK",
}


_RUN_COUNT_DEFAULT, _RUN_COUNT_MAX = 26, 100


class ChurnServicer(churn_pb2_grpc.ChurnServiceServicer):
    """Answers the calls of the CRM.

    All reads run in threads, which also build the messages, so that the event loop stays free for the loan desk.
    """

    def __init__(
        self,
        predictions: PredictionStore,
        changes: ChangeStore,
        tokens: PageTokens,
        threads: StoreThreads,
        contacts: ContactRecorder,
        contact_history: ContactHistory,
    ) -> None:
        self._predictions, self._changes, self._tokens, self._threads = predictions, changes, tokens, threads
        self._contacts, self._contact_history = contacts, contact_history

    async def GetChurnRisk(
        self, request: pb.GetChurnRiskRequest, _received: ReceivedRequest
    ) -> pb.GetChurnRiskResponse:
        """Return one customer's prediction with the explanation."""
        return await self._threads.run(self._read_one, request)

    async def BatchGetChurnRisks(
        self, request: pb.BatchGetChurnRisksRequest, _received: ReceivedRequest
    ) -> pb.BatchGetChurnRisksResponse:
        """Return the predictions of all requested customers, or an error if any customer has no prediction."""
        return await self._threads.run(self._read_batch, request)

    async def ListChurnRisks(
        self, request: pb.ListChurnRisksRequest, received: ReceivedRequest
    ) -> pb.ListChurnRisksResponse:
        """Return one page of predictions. All pages of a list come from the same run."""
        return await self._threads.run(self._read_page, request, self._tokens.for_caller(received.caller))

    async def ListChurnRiskChanges(
        self, request: pb.ListChurnRiskChangesRequest, received: ReceivedRequest
    ) -> pb.ListChurnRiskChangesResponse:
        """Return one page of changes. All pages of a synchronization together bring the caller's copy to one run."""
        synchronization = self._synchronization(received.caller)
        return await self._threads.run(synchronization.read_page, request, page_size(request.page_size))

    async def ExportChurnRisks(
        self, request: pb.ExportChurnRisksRequest, received: ReceivedRequest
    ) -> AsyncIterator[pb.ExportChurnRisksResponse]:
        """Return all predictions of a run in parts, as Arrow streams."""
        synchronization = self._synchronization(received.caller)
        cursor: ExportCursor | None = await self._threads.run(synchronization.start_export, request)
        while cursor is not None:
            part, cursor = await self._threads.run(synchronization.read_part, cursor)
            yield part

    async def ListChurnRuns(
        self, _request: pb.ListChurnRunsRequest, _received: ReceivedRequest
    ) -> pb.ListChurnRunsResponse:
        """Return the newest run of every market and family."""
        runs = await self._threads.run(self._predictions.read_newest_runs)
        return pb.ListChurnRunsResponse(runs=[run_message(run) for run in runs])

    async def ListChurnBandCounts(
        self, request: pb.ListChurnBandCountsRequest, _received: ReceivedRequest
    ) -> pb.ListChurnBandCountsResponse:
        """Return how many customers are in each band, for the newest runs of a market and family."""
        return await self._threads.run(self._count_bands, request)

    async def RecordContact(
        self, request: pb.RecordContactRequest, received: ReceivedRequest
    ) -> pb.RecordContactResponse:
        """Record that a customer of a run was contacted."""
        return pb.RecordContactResponse(contact=await self._contacts.record(request, received))

    async def ListContacts(self, request: pb.ListContactsRequest, received: ReceivedRequest) -> pb.ListContactsResponse:
        """Return one page of the contacts with a customer."""
        return await self._contact_history.list_page(request, received.caller)

    def _synchronization(self, caller: Caller) -> Synchronization:
        """Return the synchronization of a caller's copies, whose tokens only this caller can use."""
        return Synchronization(self._predictions, self._changes, self._tokens.for_caller(caller))

    def _read_one(self, request: pb.GetChurnRiskRequest) -> pb.GetChurnRiskResponse:
        """Read the prediction of one customer. This method runs in a thread."""
        run = require_newest_run(self._predictions, request.customer.market, request.family)
        row = self._predictions.find_prediction(run, request.customer.customer_id)
        if row is None:
            raise CustomerUnknown(
                f"the newest run of market {run.market} has no prediction for this customer", market=run.market
            )
        risk = RiskWriter(run, request.locale).message(row)
        if row.status == SCORED:
            risk.explanation.CopyFrom(risk_explanation_message(run, row))
        return pb.GetChurnRiskResponse(churn_risk=risk)

    def _read_batch(self, request: pb.BatchGetChurnRisksRequest) -> pb.BatchGetChurnRisksResponse:
        """Read the predictions of customers from the newest run of each market. This method runs in a thread."""
        wanted: dict[str, list[str]] = {}
        for customer in request.customers:
            wanted.setdefault(customer.market, []).append(customer.customer_id)
        runs = {market: require_newest_run(self._predictions, market, request.family) for market in wanted}
        writers = {market: RiskWriter(run, request.locale) for market, run in runs.items()}
        found = {market: self._predictions.find_predictions(runs[market], ids) for market, ids in wanted.items()}
        risks = []
        for index, customer in enumerate(request.customers):
            run, row = runs[customer.market], found[customer.market].get(customer.customer_id)
            if row is None:
                raise CustomerUnknown(
                    f"customers[{index}]: the newest run of market {run.market} has no prediction for this customer; "
                    "remove the customer and retry",
                    market=run.market,
                    index=str(index),
                )
            risks.append(writers[run.market].message(row))
        return pb.BatchGetChurnRisksResponse(churn_risks=risks)

    def _count_bands(self, request: pb.ListChurnBandCountsRequest) -> pb.ListChurnBandCountsResponse:
        """Count the customers of each band. This method runs in a thread."""
        family = require_newest_run(self._predictions, request.market, request.family).family
        count_max = min(request.run_count_max or _RUN_COUNT_DEFAULT, _RUN_COUNT_MAX)
        found = self._predictions.count_bands(request.market, family, count_max)
        runs = [band_counts_message(each.run, each.counts) for each in found.runs]
        return pb.ListChurnBandCountsResponse(runs=runs, kept_run_count=found.kept_count)

    def _read_page(self, request: pb.ListChurnRisksRequest, tokens: PageTokens) -> pb.ListChurnRisksResponse:
        """Read one page of a list. This method runs in a thread."""
        query, size = _query(request), page_size(request.page_size)
        filters = _filter_digest(query, request.locale, request.family)
        after: PredictionCursor | None = None
        if request.page_token:
            cursor = tokens.read(request.page_token, RiskPageCursor)
            if (cursor.market, cursor.filters) != (request.market, filters):
                raise PageTokenInvalid(
                    "page_token was issued for a different market, family, order, locale or filter; use the values of the first page"
                )
            run, total = self._predictions.read_run(cursor.run, cursor.market), cursor.total
            after = PredictionCursor(cursor.number, cursor.customer_id)
        else:
            run = require_newest_run(self._predictions, request.market, request.family)
            total = self._count(run, query)
        # Read one row more than the page has. If this row exists, there is a next page.
        rows = self._predictions.read_page(run, query, after, size + 1)
        token = ""
        if len(rows) > size:
            last = rows[size - 1]
            number = _sort_number(query, last)
            token = tokens.write(RiskPageCursor(run.number, run.market, filters, total, number, last.customer_id))
        risks = risk_messages(run, rows[:size], request.locale)
        return pb.ListChurnRisksResponse(churn_risks=risks, next_page_token=token, total_size=total)

    def _count(self, run: ScoringRun, query: PredictionQuery) -> int:
        """Return the number of customers in a list, for its first page. The page tokens pass it to the later pages.

        The run stores the number of scored customers, so most lists need no count of many rows.
        """
        if query == PredictionQuery(query.order, withheld=True):
            return run.scored_count
        if query == PredictionQuery(query.order):
            return self._predictions.count_contactable(run)
        return self._predictions.count_predictions(run, query)


def _query(request: pb.ListChurnRisksRequest) -> PredictionQuery:
    """Convert the filters and the order of a list request to a query of the prediction store."""
    bands = tuple(sorted(pb.RiskBand.Name(band).removeprefix("RISK_BAND_") for band in request.risk_bands))
    value_min = request.value_at_risk_minor_min if request.HasField("value_at_risk_minor_min") else None
    status = pb.ChurnStatus.Name(request.status or pb.CHURN_STATUS_SCORED).removeprefix("CHURN_STATUS_")
    return PredictionQuery(_ORDERS[request.order], bands, value_min, status, request.include_withheld)


def _filter_digest(query: PredictionQuery, locale: str, family: str) -> str:
    """Return a digest of order, filters, locale and family, which binds a page token to one list."""
    fields = (query.order, query.bands, query.value_min, query.status, query.withheld, locale, family)
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def _sort_number(query: PredictionQuery, row: Row[Any]) -> int:
    """Return the number by which a list sorts a row; 0 for unscored customers, who are sorted only by customer_id."""
    if query.status != SCORED:
        return 0
    return int(row.rank if query.order == "PROBABILITY" else row.value_at_risk_minor)
