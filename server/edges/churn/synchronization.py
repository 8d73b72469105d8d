"""Synchronization of a caller's copy of a market, by pages of changes or by an export.

An invalid token is rejected with RESYNC_REQUIRED. The caller must then start a full synchronization, because otherwise
its copy could miss a change.
"""

from dataclasses import replace
from typing import TypeVar

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from server.edges.churn.messages import require_newest_run, risk_messages, run_message
from server.edges.page_tokens import CopyState, ExportCursor, PageTokens, SyncCursor
from server.errors import PageTokenInvalid, ResyncRequired
from server.stores.runs.changes import ChangeCursor, ChangeStore, SyncPlan
from server.stores.runs.predictions import PredictionStore, ScoringRun

_COMPRESSIONS = {
    pb.EXPORT_COMPRESSION_UNSPECIFIED: "NONE",
    pb.EXPORT_COMPRESSION_NONE: "NONE",
    pb.EXPORT_COMPRESSION_ZSTD: "ZSTD",
}
_CopyCursor = TypeVar("_CopyCursor", SyncCursor, CopyState, ExportCursor)


class Synchronization:
    """Reads pages of changes and parts of exports. Its methods block while they wait for the database."""

    def __init__(self, predictions: PredictionStore, changes: ChangeStore, tokens: PageTokens) -> None:
        self._predictions, self._changes, self._tokens = predictions, changes, tokens

    def read_page(self, request: pb.ListChurnRiskChangesRequest, size: int) -> pb.ListChurnRiskChangesResponse:
        """Return one page of changes. The last page has a delta token; every other page has the token of the next page.

        Raises:
            ResyncRequired: The token is invalid or too old, or its run is no longer in the database.
        """
        sync, cursor = self._plan(request)
        page = self._changes.read_page(sync, cursor, size)
        answer = pb.ListChurnRiskChangesResponse(
            run=run_message(sync.run),
            churn_risks=risk_messages(sync.run, page.rows, request.locale),
            removed_customers=[
                customer_pb2.Customer(market=request.market, customer_id=customer_id) for customer_id in page.removed
            ],
        )
        if page.cursor is None:
            answer.delta_token = self._tokens.write(
                CopyState(request.market, request.locale, sync.run.number, sync.mark, sync.withheld)
            )
        else:
            since = sync.since.number if sync.since else None
            answer.next_page_token = self._tokens.write(
                SyncCursor(
                    market=request.market,
                    locale=request.locale,
                    run=sync.run.number,
                    since=since,
                    mark=sync.mark,
                    since_mark=sync.since_mark,
                    phase=page.cursor.phase,
                    customer_id=page.cursor.customer_id,
                    number=page.cursor.number,
                    withheld=sync.withheld,
                )
            )
        return answer

    def _plan(self, request: pb.ListChurnRiskChangesRequest) -> tuple[SyncPlan, ChangeCursor]:
        """Return the plan with the runs and tombstones to compare, and the position at which the page starts."""
        market, withheld = request.market, request.include_withheld
        if request.page_token:
            cursor = self._read_token(request.page_token, SyncCursor, request)
            since = None if cursor.since is None else self._predictions.read_run(cursor.since, market)
            run = self._read_run(cursor.run, request)
            sync = SyncPlan(run, since, cursor.mark, cursor.since_mark, withheld)
            return sync, ChangeCursor(cursor.phase, cursor.customer_id, cursor.number)
        # Read the tombstone mark before the run. If a customer is erased between the two reads, the erasure is then
        # reported twice. If the run were read first, the erasure would not be reported at all.
        mark = self._changes.read_tombstone_mark(market)
        start = ChangeCursor("CHANGED")
        if not request.delta_token:
            run = require_newest_run(self._predictions, market, request.family)
            return SyncPlan(run, None, mark, mark, withheld), start
        state = self._read_token(request.delta_token, CopyState, request)
        # The copy stays with its family, so a run of another family never changes it.
        since = self._read_run(state.run, request)
        run = require_newest_run(self._predictions, market, since.family)
        return SyncPlan(run, since, mark, state.mark, withheld), start

    def start_export(self, request: pb.ExportChurnRisksRequest) -> ExportCursor:
        """Return the position at which an export starts or resumes.

        Raises:
            ResyncRequired: The resume token is invalid, too old, or was issued for a different method, market, locale
                or compression.
        """
        compression = _COMPRESSIONS[request.compression]
        if request.resume_token:
            cursor = self._read_token(request.resume_token, ExportCursor, request)
            if cursor.compression != compression:
                raise ResyncRequired("the token was issued for a different compression; begin again without a token")
            self._read_run(cursor.run, request)
            return cursor
        mark = self._changes.read_tombstone_mark(request.market)
        run = require_newest_run(self._predictions, request.market, request.family)
        return ExportCursor(
            market=request.market,
            locale=request.locale,
            run=run.number,
            mark=mark,
            part=0,
            compression=compression,
            rows_left=0,
            withheld=request.include_withheld,
        )

    def read_part(self, cursor: ExportCursor) -> tuple[pb.ExportChurnRisksResponse, ExportCursor | None]:
        """Return one part of an export, and the position of the next part. The position is None after the last part."""
        run = self._predictions.read_run(cursor.run, cursor.market)
        content, is_last = self._predictions.read_export_chunk(run, cursor.part)
        following = replace(cursor, part=cursor.part + 1, rows_left=0)
        if cursor.compression == "NONE" or not cursor.withheld:
            # This module is imported here, because it imports pyarrow, which needs memory.
            from server.stores.runs.export_chunks import contactable_part, uncompressed_part

            compressed = cursor.compression != "NONE"
            content = content if cursor.withheld else contactable_part(content, compressed=compressed)
            if not compressed:
                content, rows_left = uncompressed_part(content, cursor.rows_left)
                if rows_left:
                    following, is_last = replace(cursor, rows_left=rows_left), False
        answer = pb.ExportChurnRisksResponse(run=run_message(run), arrow_stream=content)
        if is_last:
            answer.delta_token = self._tokens.write(
                CopyState(cursor.market, cursor.locale, cursor.run, cursor.mark, cursor.withheld)
            )
            return answer, None
        answer.resume_token = self._tokens.write(following)
        return answer, following

    def _read_run(
        self, number: int, request: pb.ListChurnRiskChangesRequest | pb.ExportChurnRisksRequest
    ) -> ScoringRun:
        """Return the run of a token.

        Raises:
            ResyncRequired: The run was deleted, or the request names a different family.
        """
        run = self._predictions.read_run(number, request.market)
        if request.family not in ("", run.family):
            raise ResyncRequired("the token was issued for a different family; begin again without a token")
        return run

    def _read_token(
        self, token: str, kind: type[_CopyCursor], request: pb.ListChurnRiskChangesRequest | pb.ExportChurnRisksRequest
    ) -> _CopyCursor:
        """Return the cursor of a token, after checking that the token belongs to the request.

        Raises:
            ResyncRequired: The token is invalid, too old, or was issued for a different method, market, locale or
                include_withheld.
        """
        try:
            cursor = self._tokens.read(token, kind)
        except PageTokenInvalid as error:
            raise ResyncRequired(f"{error}, or begin again without a token", market=request.market) from error
        issued_for = (cursor.market, cursor.locale, cursor.withheld)
        if issued_for != (request.market, request.locale, request.include_withheld):
            raise ResyncRequired(
                "the token was issued for a different market, locale or include_withheld; begin again without a token"
            )
        return cursor
