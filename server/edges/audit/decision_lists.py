"""Lists and samples of decisions. Both read headers only, which hold no personal data."""

import hashlib

from grounds.audit.v1 import sample_pb2 as pb
from grounds.credit.v1 import credit_pb2
from server.edges.audit.proofs import size_of
from server.edges.audit.question import time_of
from server.edges.explanations import timestamp
from server.edges.page_tokens import INVALID_MESSAGE, PageTokens, page_size
from server.edges.thread_pool import StoreThreads
from server.errors import PageTokenInvalid, RequestInvalid, Violation
from server.stores.record_log.decision_index import DecisionCursor, DecisionIndex, DecisionQuery
from server.stores.record_log.entries import EPOCH, MICROSECOND
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.sampling import SampleDrawer, SampleQuery

SAMPLE_MAX = 20_000  # of all strata together: an answer that fits into one message
LISTED = "decisions"  # the kind of its page tokens
PREFIX = "DECISION_"
KEYS = {
    pb.STRATUM_KEY_MARKET: "market",
    pb.STRATUM_KEY_DECISION: "decision",
    pb.STRATUM_KEY_GRADE: "grade",
}
ORDER = ("market", "decision", "grade")


class DecisionSearch:
    """Lists decisions and draws samples of them."""

    def __init__(
        self, stores: tuple[DecisionIndex, SampleDrawer], proofs: ProofReader, tokens: PageTokens, threads: StoreThreads
    ) -> None:
        self.listed, self.samples = stores
        self.proofs, self.tokens, self.threads = proofs, tokens, threads

    async def page(self, request: pb.ListDecisionsRequest) -> pb.ListDecisionsResponse:
        """Give a page."""
        after = self.place_of(request)
        size = page_size(request.page_size)
        rows = await self.threads.run(self.listed.read_page, condition_of(request.filter), after, size + 1)
        token = ""
        if len(rows) > size:
            token = self.token_of(request.filter, DecisionCursor(rows[size - 1].time_us, rows[size - 1].record_index))
        decisions = [
            pb.DecisionSummary(
                decision_id=row.record_id,
                index=row.record_index,
                decide_time=timestamp(EPOCH + row.time_us * MICROSECOND),
                market=row.market,
                bundle_id=row.bundle_id,
                decision=decision_named(row.decision),
                grade=row.grade,
                caller=row.caller,
            )
            for row in rows[:size]
        ]
        return pb.ListDecisionsResponse(decisions=decisions, next_page_token=token)

    async def sample(self, request: pb.SampleDecisionsRequest) -> pb.SampleDecisionsResponse:
        """Draw a sample."""
        head = await self.threads.run(self.proofs.read_head)
        size = size_of(request.tree_size or head.size, head)
        asked = {KEYS[key] for key in request.stratify_by}
        keys = [key for key in ORDER if key in asked]
        question = SampleQuery(condition_of(request.filter), size, tuple(keys), request.seed, request.size)
        strata = await self.threads.run(self.samples.draw, question)
        if sum(len(drawn) for _, drawn in strata.values()) > SAMPLE_MAX:
            problem = f"must be at most {SAMPLE_MAX // len(strata)} with {len(strata)} strata"
            raise RequestInvalid(f"size {problem}", violations=[Violation("size", problem, "SAMPLE_TOO_LARGE")])
        return pb.SampleDecisionsResponse(
            tree_size=size,
            population_count=sum(population for population, _ in strata.values()),
            strata=[stratum(keys, values, *found) for values, found in strata.items()],
            checkpoint=head.checkpoint,
        )

    def token_of(self, asked: pb.DecisionFilter, place: DecisionCursor) -> str:
        """Write where the next page begins, bound to the filter."""
        return self.tokens.sign([LISTED, digest(asked), place.time_us, place.index])

    def place_of(self, request: pb.ListDecisionsRequest) -> DecisionCursor | None:
        """Read where the page begins; None at the first."""
        if not request.page_token:
            return None
        told = self.tokens.open(request.page_token)
        match told:
            case [kind, filters, time_us, index] if kind == LISTED:
                if filters != digest(request.filter):
                    raise PageTokenInvalid("page_token belongs to a list of another filter")
                return DecisionCursor(time_us, index)
        raise PageTokenInvalid(INVALID_MESSAGE)


def digest(asked: pb.DecisionFilter) -> str:
    """Name a filter; it has no maps, so the same one has the same bytes."""
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()


def condition_of(asked: pb.DecisionFilter) -> DecisionQuery:
    """Read a filter."""
    return DecisionQuery(
        start=time_of(asked.start_time) if asked.HasField("start_time") else None,
        end=time_of(asked.end_time) if asked.HasField("end_time") else None,
        market=asked.market,
        bundle_id=asked.bundle_id,
        decision=credit_pb2.Decision.Name(asked.decision).removeprefix(PREFIX) if asked.decision else "",
        grade=asked.grade,
        caller=asked.caller,
    )


def decision_named(name: str) -> credit_pb2.Decision:
    """Read an outcome as a header says it; one that nobody knows is DECISION_UNSPECIFIED."""
    known = f"{PREFIX}{name}" in credit_pb2.Decision.keys()  # noqa: SIM118 - an enum, not a mapping
    return credit_pb2.Decision.Value(f"{PREFIX}{name}") if known else credit_pb2.DECISION_UNSPECIFIED  # type: ignore[return-value]


def stratum(keys: list[str], values: tuple[str, ...], population: int, drawn: list[str]) -> pb.SampleStratum:
    """Write one stratum."""
    of = dict(zip(keys, values, strict=True))
    return pb.SampleStratum(
        market=of.get("market", ""),
        decision=decision_named(of["decision"]) if "decision" in of else credit_pb2.DECISION_UNSPECIFIED,
        grade=of.get("grade", ""),
        population_count=population,
        decision_ids=drawn,
    )
