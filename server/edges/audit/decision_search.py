"""Lists and random samples of decisions. Both read only record headers, which contain no personal data.

Which decisions are about one person is personal data, so a list of the decisions about a customer is recorded as a reading.
"""

import time
from dataclasses import dataclass, replace

from grounds.audit.v1 import sample_pb2 as pb
from grounds.credit.v1 import credit_pb2
from server.edges.audit.proofs import check_tree_size
from server.edges.audit.readings import CustomerReading, Reading, ReadingRecorder
from server.edges.credit.decision_records import decision_of_label, label_of_decision
from server.edges.explanations import time_from_timestamp, timestamp
from server.edges.identity.callers import Caller
from server.edges.limits import LoanDeskPriority
from server.edges.page_tokens import PageTokens, page_size
from server.edges.thread_pool import StoreThreads
from server.errors import RequestInvalid, Violation, summarize_violations
from server.stores.record_log.decision_index import DecisionCursor, DecisionIndex, DecisionQuery
from server.stores.record_log.entries import time_from_us
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.sampling import SampleDrawer, SampleQuery

# The largest number of decisions in all strata together, so that the answer fits into one gRPC message.
_SAMPLE_MAX = 20_000
_TOKEN_KIND = "decisions"  # noqa: S105 - part of page tokens
_PAGE_SECONDS_MAX = 2.0  # then a page ends early
_PART_ROWS = 50  # a part of a page takes about a millisecond
_STRATUM_COLUMNS = {  # strata are sorted by these columns, in this order
    pb.STRATUM_KEY_MARKET: "market",
    pb.STRATUM_KEY_DECISION: "decision",
    pb.STRATUM_KEY_GRADE: "grade",
}


@dataclass(frozen=True, slots=True)
class _PagePart:
    """An encoded part of a page of decisions.

    Attributes:
        content: The encoded decisions.
        rows: Number of decisions.
        following: Position after the last decision; None if no further decision matches.
    """

    content: bytes
    rows: int
    following: DecisionCursor | None


class DecisionSearch:
    """Answers ListDecisions and SampleDecisions."""

    def __init__(
        self,
        *,
        log: RecordLog,
        readings: ReadingRecorder,
        decisions: DecisionIndex,
        samples: SampleDrawer,
        proofs: ProofReader,
        tokens: PageTokens,
        threads: StoreThreads,
        priority: LoanDeskPriority,
    ) -> None:
        self._log, self._readings = log, readings
        self._decisions, self._samples = decisions, samples
        self._proofs, self._tokens, self._threads, self._priority = proofs, tokens, threads, priority

    async def list_page(self, request: pb.ListDecisionsRequest, caller: Caller) -> bytes:
        """Return an encoded page, newest decisions first.

        The page is read and encoded in parts, so that calls of the loan desk wait for one part at most. The joined
        parts are one valid message, because Protobuf concatenates the elements of a repeated field. While the loan desk
        is busy, the page may end early; its token continues it. A page about one customer is recorded as a reading
        first.

        Raises:
            PageTokenInvalid: The token is invalid, or was issued for a different caller, method, filter or customer.
            StoreUnavailable: The database does not answer, or the reading was not recorded.
        """
        end = time.monotonic() + _PAGE_SECONDS_MAX
        tokens, query = self._tokens.for_caller(caller), _query(request.filter)
        condition = pb.ListDecisionsRequest(filter=request.filter, customer_id=request.customer_id)
        position = tokens.read_position(request.page_token, _TOKEN_KIND, condition, 2)
        cursor, missing = DecisionCursor(*position) if position else None, page_size(request.page_size)
        parts = list[bytes]()
        if request.customer_id:
            tag = self._log.customer_tag(request.filter.market, request.customer_id)
            query = replace(query, customer_tag=tag)
            parts.append(await self._record_reading(request, tag, caller))
        while True:
            part = await self._threads.run(self._encode_part, query, cursor, min(missing, _PART_ROWS))
            parts.append(part.content)
            cursor, missing = part.following, missing - part.rows
            if cursor is None:
                break
            if not missing or time.monotonic() >= end:
                token = tokens.write_position(_TOKEN_KIND, condition, [cursor.time_us, cursor.index])
                parts.append(pb.ListDecisionsResponse(next_page_token=token).SerializeToString())
                break
            await self._priority.wait()
        return b"".join(parts)

    async def _record_reading(self, request: pb.ListDecisionsRequest, tag: str, caller: Caller) -> bytes:
        """Record that the decisions about a customer are read; return the encoded part of the page that names the record."""
        about = CustomerReading(request.filter.market, tag)
        reading = Reading(caller.name, "", "ListDecisions", request.purpose, customer=about)
        return pb.ListDecisionsResponse(reading=await self._readings.record(reading)).SerializeToString()

    def _encode_part(self, query: DecisionQuery, cursor: DecisionCursor | None, count: int) -> "_PagePart":
        """Read and encode the next `count` decisions of a page."""
        # Read one row more than the part has. If this row exists, more decisions follow.
        rows = self._decisions.read_page(query, cursor, count + 1)
        decisions = [
            pb.DecisionSummary(
                decision_id=row.record_id,
                index=row.record_index,
                decide_time=timestamp(time_from_us(row.time_us)),
                market=row.market,
                bundle_id=row.bundle_id,
                decision=decision_of_label(row.decision),
                grade=row.grade,
                caller=row.caller,
            )
            for row in rows[:count]
        ]
        following = DecisionCursor(rows[count - 1].time_us, rows[count - 1].record_index) if len(rows) > count else None
        content = pb.ListDecisionsResponse(decisions=decisions).SerializeToString()
        return _PagePart(content, len(decisions), following)

    async def draw_sample(self, request: pb.SampleDecisionsRequest) -> pb.SampleDecisionsResponse:
        """Draw up to `request.size` random decisions from each stratum of the decisions in a tree.

        Raises:
            RequestInvalid: The sample would have more than 20,000 decisions.
            TreeSizeUnknown: The log has fewer records than the requested tree.
            StoreUnavailable: The sample could not be drawn.
        """
        head = await self._threads.run(self._proofs.read_head)
        tree_size = check_tree_size(request.tree_size or head.size, head)
        columns = [column for key, column in _STRATUM_COLUMNS.items() if key in request.stratify_by]
        query = SampleQuery(_query(request.filter), tree_size, tuple(columns), request.seed, request.size)
        strata = await self._threads.run_long(self._samples.draw, query)
        if sum(len(drawn) for _, drawn in strata.values()) > _SAMPLE_MAX:
            problem = f"must be at most {_SAMPLE_MAX // len(strata)} with {len(strata)} strata"
            violations = [Violation("size", problem, "SAMPLE_TOO_LARGE")]
            raise RequestInvalid(summarize_violations(violations), violations=violations)
        return pb.SampleDecisionsResponse(
            tree_size=tree_size,
            population_count=sum(population for population, _ in strata.values()),
            strata=[_stratum_message(columns, values, *found) for values, found in strata.items()],
            checkpoint=head.checkpoint,
        )


def _query(decision_filter: pb.DecisionFilter) -> DecisionQuery:
    """Convert a filter to a query of the decision index."""
    wanted = decision_filter
    return DecisionQuery(
        start=time_from_timestamp(wanted.start_time) if wanted.HasField("start_time") else None,
        end=time_from_timestamp(wanted.end_time) if wanted.HasField("end_time") else None,
        market=wanted.market,
        bundle_id=wanted.bundle_id,
        decision=label_of_decision(wanted.decision) if wanted.decision else "",
        grade=wanted.grade,
        caller=wanted.caller,
    )


def _stratum_message(
    columns: list[str], values: tuple[str, ...], population: int, drawn: list[str]
) -> pb.SampleStratum:
    """Build the message of a stratum."""
    by_column = dict(zip(columns, values, strict=True))
    decision = by_column.get("decision")
    return pb.SampleStratum(
        market=by_column.get("market", ""),
        decision=credit_pb2.DECISION_UNSPECIFIED if decision is None else decision_of_label(decision),
        grade=by_column.get("grade", ""),
        population_count=population,
        decision_ids=drawn,
    )
