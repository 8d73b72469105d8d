"""What operators changed and which calls the server refused, as the record log states it: ListActivations, CountRefusedCalls."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from grounds.audit.v1 import activation_pb2 as pb
from grounds.audit.v1 import audit_pb2
from grounds.audit.v1 import bodies_pb2 as bodies
from grounds_record.activations import (
    BUNDLE_ACTIVATED,
    BUNDLE_DEACTIVATED,
    BUNDLE_RETIRED,
    CHANGE_PROPOSED,
    ActivationHistory,
    RecordedChange,
)
from grounds_record.errors import RecordError
from server.edges.explanations import time_from_timestamp, timestamp
from server.edges.identity.callers import Caller
from server.edges.page_tokens import PageTokens, page_size
from server.edges.thread_pool import StoreThreads
from server.errors import RecordDamaged
from server.stores.record_log.activations import read_history
from server.stores.record_log.entries import time_from_us, us_since_epoch
from server.stores.record_log.log import RecordLog
from server.stores.record_log.refused_calls import RefusedCallReader

_TOKEN_KIND = "activations"  # noqa: S105 - part of page tokens


@dataclass(frozen=True, slots=True)
class _RecordedBody:
    """The decoded body of a change, with an empty message for every kind that it does not have."""

    activation: bodies.BundleActivationRecord
    retirement: bodies.BundleRetirementRecord
    proposal: bodies.ChangeProposalRecord
    policy: bodies.PolicyActivationRecord


class OperationHistory:
    """Answers ListActivations and CountRefusedCalls."""

    def __init__(self, log: RecordLog, tokens: PageTokens, threads: StoreThreads) -> None:
        self._log, self._tokens, self._threads = log, tokens, threads
        self._refused_calls = RefusedCallReader(log)
        # A record never changes, and there are few of them.
        self._read_body = lru_cache(maxsize=4096)(self._decode)

    async def count_refused_calls(
        self, request: audit_pb2.CountRefusedCallsRequest
    ) -> audit_pb2.CountRefusedCallsResponse:
        """Count the calls that were denied or refused."""
        start = time_from_timestamp(request.start_time) if request.HasField("start_time") else None
        end = time_from_timestamp(request.end_time) if request.HasField("end_time") else None
        recorded, next_end = await self._threads.run_long(self._refused_calls.read, start, end)
        counts: Counter[tuple[str, str, str]] = Counter()
        for body in recorded:
            for each in bodies.RefusedCallsRecord.FromString(body).refusals:
                counts[each.caller, each.method, each.reason] += each.count
        return audit_pb2.CountRefusedCallsResponse(
            refusals=[
                bodies.RefusedCalls(caller=caller, method=method, reason=reason, count=count)
                for (caller, method, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            ],
            record_count=len(recorded),
            next_end_time=timestamp(next_end) if next_end is not None else None,
        )

    async def list_activations(self, request: pb.ListActivationsRequest, caller: Caller) -> pb.ListActivationsResponse:
        """Return one page, newest changes first.

        Raises:
            PageTokenInvalid: The token is invalid, or was issued for a different caller, method or condition.
            RecordDamaged: A record was changed after it was written.
        """
        tokens = self._tokens.for_caller(caller)
        (before,) = tokens.read_position(request.page_token, _TOKEN_KIND, _condition(request), 1) or (None,)
        size = page_size(request.page_size)
        return await self._threads.run_long(self._read_page, request, before, size, tokens)

    def _read_page(
        self, request: pb.ListActivationsRequest, before: int | None, size: int, tokens: PageTokens
    ) -> pb.ListActivationsResponse:
        """Return the changes before an index; None begins with the newest change."""
        try:
            with self._log.database.reading() as connection:
                history = read_history(connection)
        except RecordError as error:
            raise RecordDamaged("the header of a change was changed; run: python -m server doctor") from error
        if request.HasField("at_time"):
            changes = history.in_force(us_since_epoch(time_from_timestamp(request.at_time)))
        else:
            changes = history.changes
        page: list[pb.Activation] = []
        for change in reversed(changes):
            if before is not None and change.index >= before:
                continue
            if request.family and change.family not in (request.family, ""):
                continue
            if not self._concerns_market(change, request.market):
                continue
            if len(page) == size:
                token = tokens.write_position(_TOKEN_KIND, _condition(request), [page[-1].index])
                return pb.ListActivationsResponse(activations=page, next_page_token=token)
            page.append(self._message(history, change))
        return pb.ListActivationsResponse(activations=page)

    def _concerns_market(self, change: RecordedChange, market: str) -> bool:
        """Return whether a change concerns a market. A policy concerns every market, and a retirement none.

        The markets of a proposal are in the encrypted body of its record. For every other change, the header is
        sufficient.
        """
        if not market or change.policy_sha256:
            return True
        if change.header.kind == CHANGE_PROPOSED:
            return market in self._read_body(change.record_id, change.header.kind).proposal.markets
        return change.market == market

    def _message(self, history: ActivationHistory, change: RecordedChange) -> pb.Activation:
        """Return the message of a change."""
        body, kind = self._read_body(change.record_id, change.header.kind), change.header.kind
        message = pb.Activation(
            activation_id=change.record_id,
            index=change.index,
            time=timestamp(time_from_us(change.header.time_us)),
            family=change.family,
            bundle_id=change.bundle_id,
            policy_sha256=change.policy_sha256,
            previous_digest=change.previous,
        )
        is_rollback = history.is_rollback(change)
        if kind == CHANGE_PROPOSED:
            proposal = body.proposal
            message.change, message.proposed_change = bodies.CHANGE_KIND_PROPOSAL, proposal.change
            message.markets.extend(proposal.markets)
            message.policy_version, message.reason = proposal.policy_version, proposal.reason
            message.release_verdict = proposal.release_verdict
            message.author.operator, message.author.source = proposal.operator, bodies.CHANGE_SOURCE_COMMAND
        elif kind == BUNDLE_RETIRED:
            message.change, message.reason = bodies.CHANGE_KIND_RETIREMENT, body.retirement.reason
            message.author.CopyFrom(body.retirement.author)
        elif kind in (BUNDLE_ACTIVATED, BUNDLE_DEACTIVATED):
            message.change = bodies.CHANGE_KIND_DEACTIVATION
            if kind == BUNDLE_ACTIVATED:
                message.change = bodies.CHANGE_KIND_ROLLBACK if is_rollback else bodies.CHANGE_KIND_ACTIVATION
            message.markets.append(change.market)
            message.reason, message.release_verdict = body.activation.reason, body.activation.release_verdict
            message.author.CopyFrom(body.activation.author)
        else:
            first, again = bodies.CHANGE_KIND_POLICY_ACTIVATION, bodies.CHANGE_KIND_POLICY_ROLLBACK
            message.change = again if is_rollback else first
            message.policy_version, message.reason = body.policy.policy_version, body.policy.reason
            # Records of earlier releases have no label with the previous policy, but a field.
            message.previous_digest = body.policy.previous_policy_sha256
            message.author.CopyFrom(body.policy.author)
        return message

    def _decode(self, record_id: str, kind: str) -> _RecordedBody:
        """Decrypt and decode the body of a change."""
        record = self._log.find_by_id(record_id)
        assert record is not None, "the record was read from the log, and retention never removes it"
        content = {kind: record.body}
        activation = content.get(BUNDLE_ACTIVATED) or content.get(BUNDLE_DEACTIVATED, b"")
        known = {BUNDLE_ACTIVATED, BUNDLE_DEACTIVATED, BUNDLE_RETIRED, CHANGE_PROPOSED}
        return _RecordedBody(
            bodies.BundleActivationRecord.FromString(activation),
            bodies.BundleRetirementRecord.FromString(content.get(BUNDLE_RETIRED, b"")),
            bodies.ChangeProposalRecord.FromString(content.get(CHANGE_PROPOSED, b"")),
            bodies.PolicyActivationRecord.FromString(b"" if kind in known else record.body),
        )


def _condition(request: pb.ListActivationsRequest) -> pb.ListActivationsRequest:
    """Return the fields of a request that determine the list."""
    condition = pb.ListActivationsRequest(market=request.market, family=request.family)
    if request.HasField("at_time"):
        condition.at_time.CopyFrom(request.at_time)
    return condition
