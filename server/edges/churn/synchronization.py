"""Copies of a market kept in step: pages of changes, and the export. Every token that is not right means: begin again."""

from dataclasses import replace
from typing import TypeVar

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from server.edges.churn.messages import require_newest_run, risk_messages, run_message
from server.edges.page_tokens import CopyState, ExportCursor, PageTokens, SyncCursor
from server.errors import PageTokenInvalid, ResyncRequired
from server.stores.runs.changes import ChangeCursor, ChangeStore, SyncPlan
from server.stores.runs.predictions import PredictionStore

_COMPRESSIONS = {
    pb.EXPORT_COMPRESSION_UNSPECIFIED: "NONE",
    pb.EXPORT_COMPRESSION_NONE: "NONE",
    pb.EXPORT_COMPRESSION_ZSTD: "ZSTD",
}
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
        """Return the position at which an export starts or resumes.

        Raises:
            ResyncRequired: The resume token is not of this call, market, locale and compression, or too old.
        """
        compression = _COMPRESSIONS[request.compression]
        if request.resume_token:
            cursor = self.token(request.resume_token, ExportCursor, request)
            if cursor.compression != compression:
                raise ResyncRequired("the token is of another compression; begin again without a token")
            return cursor
        mark = self.changes.read_tombstone_mark(request.market)
        run = require_newest_run(self.risks, request.market)
        return ExportCursor(request.market, request.locale, run.number, mark, 0, compression, 0)

    def part(self, cursor: ExportCursor) -> tuple[pb.ExportChurnRisksResponse, ExportCursor | None]:
        """Return one part of an export, and the position after it; None after the last part."""
        run = self.risks.read_run(cursor.run, cursor.market)
        content, is_last = self.risks.read_export_chunk(run, cursor.part)
        following = replace(cursor, part=cursor.part + 1, rows_left=0)
        if cursor.compression == "NONE":
            from server.stores.runs.export_chunks import uncompressed_part  # imports pyarrow, which ZSTD does not need

            content, rows_left = uncompressed_part(content, cursor.rows_left)
            if rows_left:
                following, is_last = replace(cursor, rows_left=rows_left), False
        answer = pb.ExportChurnRisksResponse(run=run_message(run), arrow_stream=content)
        if is_last:
            answer.delta_token = self.tokens.write(CopyState(cursor.market, cursor.locale, cursor.run, cursor.mark))
            return answer, None
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
