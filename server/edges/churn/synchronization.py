"""Copies of a market kept in step: pages of changes, and the export. Every token that is not right means: begin again."""

from typing import TypeVar

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from server.edges.churn.messages import require_newest_run, risk_messages, run_message
from server.edges.page_tokens import CopyState, ExportCursor, PageTokens, SyncCursor
from server.errors import PageTokenInvalid, ResyncRequired
from server.stores.runs.changes import ChangeCursor, ChangeStore, SyncPlan
from server.stores.runs.predictions import PredictionStore

OfCopy = TypeVar("OfCopy", SyncCursor, CopyState, ExportCursor)


class Synchronization:
    """Reads pages of changes and parts of exports; called from the store's threads."""

    def __init__(self, risks: PredictionStore, changes: ChangeStore, tokens: PageTokens) -> None:
        self.risks, self.changes, self.tokens = risks, changes, tokens

    def page(self, request: pb.ListChurnRiskChangesRequest, size: int) -> pb.ListChurnRiskChangesResponse:
        """Give one page of a sync."""
        sync, place = self.sync_of(request)
        page = self.changes.read_page(sync, place, size)
        answer = pb.ListChurnRiskChangesResponse(
            run=run_message(sync.run),
            churn_risks=risk_messages(sync.run, page.rows, request.locale),
            removed_customers=[
                customer_pb2.Customer(market=request.market, customer_id=customer_id) for customer_id in page.removed
            ],
        )
        if page.cursor is None:
            answer.delta_token = self.tokens.write(
                CopyState(request.market, request.locale, sync.run.number, sync.mark)
            )
        else:
            since = sync.since.number if sync.since else None
            answer.next_page_token = self.tokens.write(
                SyncCursor(
                    request.market,
                    request.locale,
                    sync.run.number,
                    since,
                    sync.mark,
                    sync.since_mark,
                    page.cursor.phase,
                    page.cursor.customer_id,
                    page.cursor.number,
                )
            )
        return answer

    def sync_of(self, request: pb.ListChurnRiskChangesRequest) -> tuple[SyncPlan, ChangeCursor]:
        """Give which sync a request is about, and where it goes on."""
        market = request.market
        if request.page_token:
            at = self.token(request.page_token, SyncCursor, request)
            since = None if at.since is None else self.risks.read_run(at.since, market)
            sync = SyncPlan(self.risks.read_run(at.run, market), since, at.mark, at.since_mark)
            return sync, ChangeCursor(at.phase, at.customer_id, at.number)
        # The mark before the run: a customer who is erased in between is told of twice, not never.
        mark = self.changes.read_tombstone_mark(market)
        if request.delta_token:
            state = self.token(request.delta_token, CopyState, request)
            since = self.risks.read_run(state.run, market)
            return SyncPlan(require_newest_run(self.risks, market), since, mark, state.mark), ChangeCursor("CHANGED")
        return SyncPlan(require_newest_run(self.risks, market), None, mark, mark), ChangeCursor("CHANGED")

    def export_place(self, request: pb.ExportChurnRisksRequest) -> ExportCursor:
        """Give where an export begins or goes on."""
        if request.resume_token:
            return self.token(request.resume_token, ExportCursor, request)
        mark = self.changes.read_tombstone_mark(request.market)
        return ExportCursor(
            request.market, request.locale, require_newest_run(self.risks, request.market).number, mark, 0
        )

    def part(self, place: ExportCursor) -> tuple[pb.ExportChurnRisksResponse, ExportCursor | None]:
        """Give one part of an export, and where it goes on; nowhere after the last."""
        run = self.risks.read_run(place.run, place.market)
        content, is_last = self.risks.read_export_chunk(run, place.part)
        answer = pb.ExportChurnRisksResponse(run=run_message(run), arrow_stream=content)
        if is_last:
            answer.delta_token = self.tokens.write(CopyState(place.market, place.locale, place.run, place.mark))
            return answer, None
        following = ExportCursor(place.market, place.locale, place.run, place.mark, place.part + 1)
        answer.resume_token = self.tokens.write(following)
        return answer, following

    def token(
        self, token: str, kind: type[OfCopy], request: pb.ListChurnRiskChangesRequest | pb.ExportChurnRisksRequest
    ) -> OfCopy:
        """Read a token; whatever is wrong with it, the copy must begin anew.

        Raises:
            ResyncRequired: It is not of this call, market and locale, or too old.
        """
        try:
            place = self.tokens.read(token, kind)
        except PageTokenInvalid as error:
            raise ResyncRequired(f"{error}; begin again without a token", market=request.market) from error
        if (place.market, place.locale) != (request.market, request.locale):
            raise ResyncRequired("the token is of another market or locale; begin again without a token")
        return place
