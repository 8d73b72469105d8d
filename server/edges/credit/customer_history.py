"""Lists the decisions about one customer with the override in force and the newest outcome: ListCustomerDecisions."""

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds_record.header import Header
from server.edges.credit.decision_records import decision_from_record, decision_of_label
from server.edges.credit.events import outcomes_in_force, read_customer_events
from server.edges.explanations import timestamp
from server.edges.identity.callers import Caller
from server.edges.page_tokens import PageTokens
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import Record, time_from_us
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import RecordReader

_TOKEN_KIND = "customer_decisions"  # noqa: S105 - part of page tokens
_PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX = 20, 100
_AFTER_ALL = 2**62  # after the index of every record


class CustomerHistory:
    """Answers ListCustomerDecisions."""

    def __init__(self, log: RecordLog, tokens: PageTokens, threads: StoreThreads) -> None:
        self._log, self._tokens, self._threads = log, tokens, threads

    async def list_page(
        self, request: pb.ListCustomerDecisionsRequest, caller: Caller
    ) -> pb.ListCustomerDecisionsResponse:
        """Return one page, newest first.

        Raises:
            PageTokenInvalid: The token is invalid, or was issued for a different caller, method or customer.
            RecordDamaged: A record was changed after it was written.
        """
        tokens = self._tokens.for_caller(caller)
        (before,) = tokens.read_position(request.page_token, _TOKEN_KIND, request.customer, 1) or (_AFTER_ALL,)
        size = min(request.page_size or _PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX)
        return await self._threads.run(self._read_page, request.customer, before, size, tokens)

    def _read_page(
        self, customer: Customer, before: int, size: int, tokens: PageTokens
    ) -> pb.ListCustomerDecisionsResponse:
        """Read the decisions before an index, and their events, from one snapshot."""
        tag = self._log.customer_tag(customer.market, customer.customer_id)
        with self._log.database.snapshot() as snapshot:
            records = RecordReader(snapshot, self._log.key_store)
            # Read one record more than the page has. If there is one, another page follows.
            found = records.read_newest(tag, CREDIT_DECISION, before, size + 1)
            page = {header.record_id: _decision_message(header, record) for header, _, record in found[:size]}
            readable = {name for name, decision in page.items() if not decision.content_removed}
            events = read_customer_events(records, tag, readable)
        for override in events.overrides:
            page[override.decision_id].override.CopyFrom(override)  # the last one is in force
        for outcome in outcomes_in_force(events.outcomes):
            page[outcome.decision_id].outcome.CopyFrom(outcome)  # the newest one
        token = tokens.write_position(_TOKEN_KIND, customer, [found[size - 1][1]]) if len(found) > size else ""
        return pb.ListCustomerDecisionsResponse(decisions=page.values(), next_page_token=token)


def _decision_message(header: Header, record: Record | Exception) -> pb.CustomerDecision:
    """Return a decision without its events. The header has what is left of a record whose content was removed."""
    message = pb.CustomerDecision(
        decision_id=header.record_id,
        decide_time=timestamp(time_from_us(header.time_us)),
        decision=decision_of_label(header.labels.get("decision", "")),
        grade=header.labels.get("grade", ""),
    )
    if isinstance(record, Record):
        answer = decision_from_record(record.body)
        message.requested_amount.CopyFrom(answer.requested_amount)
        message.expire_time.CopyFrom(answer.expire_time)
    else:
        message.content_removed = True
    return message
