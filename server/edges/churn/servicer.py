"""ChurnService: reads runs. Nothing is scored here."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.churn.v1 import churn_pb2_grpc
from server.edges.churn.messages import (
    RiskWriter,
    require_newest_run,
    risk_explanation_message,
    risk_messages,
    run_message,
)
from server.edges.churn.synchronization import Synchronization
from server.edges.context import Context
from server.edges.page_tokens import ExportCursor, PageTokens, RiskPageCursor, page_size
from server.edges.thread_pool import StoreThreads
from server.errors import CustomerUnknown, PageTokenInvalid
from server.stores.runs.changes import ChangeStore
from server.stores.runs.predictions import SCORED, PredictionCursor, PredictionOrder, PredictionQuery, PredictionStore

ORDERS: dict[int, PredictionOrder] = {
    pb.CHURN_RISK_ORDER_UNSPECIFIED: "PROBABILITY",
    pb.CHURN_RISK_ORDER_PROBABILITY: "PROBABILITY",
    pb.CHURN_RISK_ORDER_VALUE_AT_RISK: "VALUE_AT_RISK",
}


class ChurnServicer(churn_pb2_grpc.ChurnServiceServicer):
    """Answers the CRM. A thread of the store reads and writes a page whole, so that the loan desk does not wait for it."""

    def __init__(self, risks: PredictionStore, changes: ChangeStore, tokens: PageTokens, threads: StoreThreads) -> None:
        self.risks, self.tokens, self.threads = risks, tokens, threads
        self.syncs = Synchronization(risks, changes, tokens)

    async def GetChurnRisk(self, request: pb.GetChurnRiskRequest, _context: Context) -> pb.GetChurnRiskResponse:
        """Give one customer with the explanation."""
        return await self.threads.run(self.one, request)

    async def BatchGetChurnRisks(
        self, request: pb.BatchGetChurnRisksRequest, _context: Context
    ) -> pb.BatchGetChurnRisksResponse:
        """Give some customers, all or none."""
        return await self.threads.run(self.some, request)

    async def ListChurnRisks(self, request: pb.ListChurnRisksRequest, _context: Context) -> pb.ListChurnRisksResponse:
        """Give one page; all pages of a listing are of one run."""
        return await self.threads.run(self.page, request)

    async def ListChurnRiskChanges(
        self, request: pb.ListChurnRiskChangesRequest, _context: Context
    ) -> pb.ListChurnRiskChangesResponse:
        """Give one page of a sync; all its pages lead to one run."""
        return await self.threads.run(self.syncs.page, request, page_size(request.page_size))

    async def ExportChurnRisks(
        self, request: pb.ExportChurnRisksRequest, _context: Context
    ) -> AsyncIterator[pb.ExportChurnRisksResponse]:
        """Give every customer of a run, part by part, as `load` has written them."""
        place: ExportCursor | None = await self.threads.run(self.syncs.export_place, request)
        while place is not None:
            part, place = await self.threads.run(self.syncs.part, place)
            yield part

    async def ListChurnRuns(self, _request: pb.ListChurnRunsRequest, _context: Context) -> pb.ListChurnRunsResponse:
        """Give the newest run of every market."""
        runs = await self.threads.run(self.risks.read_newest_runs)
        return pb.ListChurnRunsResponse(runs=[run_message(run) for run in runs])

    def one(self, request: pb.GetChurnRiskRequest) -> pb.GetChurnRiskResponse:
        """Read one customer."""
        run = require_newest_run(self.risks, request.customer.market)
        row = self.risks.find_prediction(run, request.customer.customer_id)
        if row is None:
            raise CustomerUnknown(f"the newest run of {run.market} does not have this customer", market=run.market)
        risk = RiskWriter(run, request.locale).message(row)
        if row.status == SCORED:
            risk.explanation.CopyFrom(risk_explanation_message(run, row))
        return pb.GetChurnRiskResponse(churn_risk=risk)

    def some(self, request: pb.BatchGetChurnRisksRequest) -> pb.BatchGetChurnRisksResponse:
        """Read some customers, those of one market from one run."""
        wanted: dict[str, list[str]] = {}
        for customer in request.customers:
            wanted.setdefault(customer.market, []).append(customer.customer_id)
        runs = {market: require_newest_run(self.risks, market) for market in wanted}
        writers = {market: RiskWriter(run, request.locale) for market, run in runs.items()}
        found = {market: self.risks.find_predictions(runs[market], ids) for market, ids in wanted.items()}
        risks = []
        for index, customer in enumerate(request.customers):
            run, row = runs[customer.market], found[customer.market].get(customer.customer_id)
            if row is None:
                message = f"the newest run of {run.market} does not have customers[{index}]; nothing is given"
                raise CustomerUnknown(message, market=run.market, index=str(index))
            risks.append(writers[run.market].message(row))
        return pb.BatchGetChurnRisksResponse(churn_risks=risks)

    def page(self, request: pb.ListChurnRisksRequest) -> pb.ListChurnRisksResponse:
        """Read a page."""
        wanted, filters, size = wanted_of(request), filters_of(request), page_size(request.page_size)
        after: PredictionCursor | None = None
        if request.page_token:
            place = self.tokens.read(request.page_token, RiskPageCursor)
            if (place.market, place.filters) != (request.market, filters):
                raise PageTokenInvalid("page_token belongs to a list of another market, order, locale or filter")
            run, total = self.risks.read_run(place.run, place.market), place.total
            after = PredictionCursor(place.number, place.customer_id)
        else:
            run = require_newest_run(self.risks, request.market)
            total = (
                run.scored_count
                if wanted == PredictionQuery(wanted.order)
                else self.risks.count_predictions(run, wanted)
            )
        rows = self.risks.read_page(run, wanted, after, size + 1)
        token = ""
        if len(rows) > size:
            last = rows[size - 1]
            number = number_of(wanted, last)
            token = self.tokens.write(RiskPageCursor(run.number, run.market, filters, total, number, last.customer_id))
        risks = risk_messages(run, rows[:size], request.locale)
        return pb.ListChurnRisksResponse(churn_risks=risks, next_page_token=token, total_size=total)


def wanted_of(request: pb.ListChurnRisksRequest) -> PredictionQuery:
    """Give which customers are asked for, in which order."""
    bands = tuple(sorted(pb.RiskBand.Name(band).removeprefix("RISK_BAND_") for band in request.risk_bands))
    value_min = request.value_at_risk_minor_min if request.HasField("value_at_risk_minor_min") else None
    status = pb.ChurnStatus.Name(request.status or pb.CHURN_STATUS_SCORED).removeprefix("CHURN_STATUS_")
    return PredictionQuery(ORDERS[request.order], bands, value_min, status)


def filters_of(request: pb.ListChurnRisksRequest) -> str:
    """Give a digest of what a list is asked for, beside its market."""
    return hashlib.sha256(repr((wanted_of(request), request.locale)).encode()).hexdigest()[:16]


def number_of(wanted: PredictionQuery, row: Row[Any]) -> int:
    """Give what the order goes by; those without a score stand by customer_id alone."""
    if wanted.status != SCORED:
        return 0
    return int(row.rank if wanted.order == "PROBABILITY" else row.value_at_risk_minor)
