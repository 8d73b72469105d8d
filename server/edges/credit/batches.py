"""Answers batches of ScoreCredit requests: each request has its own record, and its own answer or its own error.

A batch is answered in chunks. While a thread decodes and decides one chunk, the recorder appends the chunk before. The
thread belongs to batches only, so that single decisions never wait for it.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from itertools import repeat

from grounds.credit.v1 import credit_pb2 as pb
from server.edges.credit.decision_making import DecisionMaker, DecisionRequest, NewDecision
from server.edges.credit.messages import encode_field, field_start
from server.edges.identity.callers import Caller
from server.edges.received_request import RequestDecoder
from server.edges.recording.recorder import Recorder
from server.edges.status import error_message, incident_message
from server.edges.thread_pool import StoreThreads
from server.errors import Draining, ServerBusy, ServerError, StoreUnavailable
from server.monitoring.error_location import report_bug
from server.stores.record_log.entries import AppendResult

_SERVICE = "/grounds.credit.v1.CreditService"
_METHOD = f"{_SERVICE}/BatchScoreCredit"
_CHUNK = 128  # each group costs the event loop about 2 ms for its three thread switches, so groups must not be small
_PART_BYTES_MAX = 1_000_000
_SIZE_IS_CHECKED = 2**31  # for the decoder of single requests: the size of the whole batch was checked when it arrived
_DECISION, _ERROR, _RESULTS = 2, 3, 1  # field numbers of BatchScoreCreditResult and of BatchScoreCreditResponse
_EncodedResult = tuple[bytes, ...]  # pieces of an encoded BatchScoreCreditResult, which are joined only once
_Outcome = NewDecision | _EncodedResult


class DecisionBatches:
    """Answers batches. Several batches may be answered at the same time."""

    def __init__(
        self,
        maker: DecisionMaker,
        recorder: Recorder,
        threads: StoreThreads,
        clock: Callable[[], dt.datetime],
        count_refusal: Callable[[str, str, BaseException], None],
    ) -> None:
        """Create an object that does nothing until the first batch.

        Args:
            maker: Decides the requests.
            recorder: The recorder, which appends new decisions to the record log.
            threads: The threads that decide.
            clock: A function that returns the current time, with a time zone.
            count_refusal: See `RefusalCounter.count`. A denied request of a batch counts like a denied call.
        """
        self._maker, self._recorder, self._threads, self._clock = maker, recorder, threads, clock
        self._count_refusal = count_refusal
        self._decoder = RequestDecoder(
            pb.ScoreCreditRequest.FromString, f"{_SERVICE}/ScoreCredit", bytes_max=_SIZE_IS_CHECKED
        )

    async def answer(self, elements: Sequence[bytes], caller: Caller) -> AsyncGenerator[bytes]:
        """Answer each request, in order. Yield encoded messages BatchScoreCreditResponse.

        If the generator is closed early, the requests of later chunks are not decided.

        Args:
            elements: The encoded requests, which are not checked yet.
            caller: The caller of the batch.
        """
        recording: asyncio.Task[list[bytes]] | None = None
        try:
            for first in range(0, len(elements), _CHUNK):
                outcomes = await self._decide_in_thread(first, elements[first : first + _CHUNK], caller)
                if recording is not None:
                    for part in await recording:
                        yield part
                recording = asyncio.create_task(self._record(first, outcomes, caller))
            assert recording is not None, "a batch has at least one request"
            for part in await recording:
                yield part
        finally:
            if recording is not None:
                recording.cancel()

    async def _decide_in_thread(self, first: int, elements: Sequence[bytes], caller: Caller) -> Sequence[_Outcome]:
        """Decide a chunk; see `_decide`. If no thread does so in time, every outcome is an error."""
        try:
            outcomes, rejections = await self._threads.run(self._decide, first, elements, caller, self._clock())
        except StoreUnavailable as error:
            return [_encode_result(index, error) for index in range(first, first + len(elements))]
        for rejection in rejections:
            self._count_refusal(caller.name, _METHOD, rejection)
        return outcomes

    def _decide(
        self, first: int, elements: Sequence[bytes], caller: Caller, received_at: dt.datetime
    ) -> tuple[list[_Outcome], list[Exception]]:
        """Return the outcome of each request of a chunk, and the errors of rejected requests. This method runs in a thread.

        Args:
            first: Index of the first request in the batch.
            elements: The encoded requests.
            caller: The caller of the batch.
            received_at: The time at which the chunk begins.
        """
        requests: list[DecisionRequest | Exception] = []
        for element in elements:
            try:
                requests.append(DecisionRequest(self._decoder.decode_element(element, caller), received_at))
            except Exception as error:  # noqa: BLE001 - also a bug concerns this request only; its answer reports it
                requests.append(error)
        self._maker.decide([request for request in requests if isinstance(request, DecisionRequest)])
        outcomes: list[_Outcome] = []
        for index, request in enumerate(requests, first):
            outcome = request.outcome if isinstance(request, DecisionRequest) else request
            assert outcome is not None, "`decide` sets every outcome"
            # Results are encoded here as far as possible, because errors take long to encode.
            outcomes.append(outcome if isinstance(outcome, NewDecision) else _encode_result(index, outcome))
        return outcomes, [request for request in requests if isinstance(request, Exception)]

    async def _record(self, first: int, outcomes: Sequence[_Outcome], caller: Caller) -> list[bytes]:
        """Record the new decisions of a chunk; return encoded messages BatchScoreCreditResponse with all results.

        Args:
            first: Index of the first request in the batch.
            outcomes: The outcomes of the chunk.
            caller: The caller of the batch.
        """
        entries = [outcome.entry for outcome in outcomes if isinstance(outcome, NewDecision)]
        recorded: Iterable[AppendResult]
        try:
            recorded = await self._recorder.record_several(entries)
        except (ServerBusy, Draining) as error:
            recorded = repeat(error)
            for _ in entries:
                self._count_refusal(caller.name, _METHOD, error)
        try:
            # Encoding a chunk delays the event loop, so a thread does it if one is free.
            return await self._threads.run(self._encode_recorded, first, outcomes, recorded)
        except Exception:  # noqa: BLE001 - any failure of the thread has the same remedy
            # Decisions may be recorded already. An error instead of the results would suggest that there are none.
            return self._encode_recorded(first, outcomes, recorded)

    def _encode_recorded(
        self, first: int, outcomes: Sequence[_Outcome], results: Iterable[AppendResult]
    ) -> list[bytes]:
        """Return encoded messages BatchScoreCreditResponse with the results of a chunk.

        Args:
            first: Index of the first request in the batch.
            outcomes: The outcomes of the chunk.
            results: The result of each new decision among the outcomes, in their order.
        """
        recorded = iter(results)
        encoded = []
        for index, outcome in enumerate(outcomes, first):
            if isinstance(outcome, NewDecision):
                record = next(recorded)
                answer = record if isinstance(record, Exception) else self._maker.recorded_answer(outcome, record)
                encoded.append(_encode_result(index, answer))
            else:
                encoded.append(outcome)
        return list(_encode_parts(encoded))


def _encode_result(index: int, outcome: bytes | Exception) -> _EncodedResult:
    """Return an encoded BatchScoreCreditResult in pieces.

    Args:
        index: Index of the request in the batch.
        outcome: The encoded CreditDecision, or the error.
    """
    start = pb.BatchScoreCreditResult(index=index).SerializeToString()
    if isinstance(outcome, bytes):
        return start + field_start(_DECISION, len(outcome)), outcome
    if isinstance(outcome, ServerError):
        status = error_message(outcome)
    else:
        status = incident_message(report_bug(_METHOD, outcome))
    return (start + encode_field(_ERROR, status.SerializeToString()),)


def _encode_parts(results: Sequence[_EncodedResult]) -> Iterator[bytes]:
    """Yield encoded messages BatchScoreCreditResponse with these results. Each byte of a decision is copied once."""
    part: list[bytes] = []
    size = 0
    for result in results:
        length = sum(map(len, result))
        if part and size + length > _PART_BYTES_MAX:
            yield b"".join(part)
            part, size = [], 0
        part += field_start(_RESULTS, length), *result
        size += length
    yield b"".join(part)
