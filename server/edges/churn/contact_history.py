"""Lists the recorded contacts with one customer: ListContacts."""

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from server.edges.churn.contacts import CHURN_CONTACT
from server.edges.explanations import timestamp
from server.edges.identity.callers import Caller
from server.edges.page_tokens import PageTokens
from server.edges.recording.events import event_answer
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.entries import Record, time_from_us
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import RecordReader

_TOKEN_KIND = "contacts"  # noqa: S105 - part of page tokens
_PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX = 20, 100
_AFTER_ALL = 2**62  # after the index of every record


class ContactHistory:
    """Answers ListContacts."""

    def __init__(self, log: RecordLog, tokens: PageTokens, threads: StoreThreads) -> None:
        self._log, self._tokens, self._threads = log, tokens, threads

    async def list_page(self, request: pb.ListContactsRequest, caller: Caller) -> pb.ListContactsResponse:
        """Return one page, newest first.

        Raises:
            PageTokenInvalid: The token is invalid, or was issued for a different caller, method or customer.
            RecordDamaged: A record was changed after it was written.
        """
        tokens = self._tokens.for_caller(caller)
        (before,) = tokens.read_position(request.page_token, _TOKEN_KIND, request.customer, 1) or (_AFTER_ALL,)
        size = min(request.page_size or _PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX)
        return await self._threads.run(self._read_page, request.customer, before, size, tokens)

    def _read_page(self, customer: Customer, before: int, size: int, tokens: PageTokens) -> pb.ListContactsResponse:
        """Read the contacts before an index, and the corrections of all contacts, from one snapshot."""
        tag = self._log.customer_tag(customer.market, customer.customer_id)
        with self._log.database.snapshot() as snapshot:
            records = RecordReader(snapshot, self._log.key_store)
            # Read one record more than the page has. If there is one, another page follows.
            found = records.read_newest(tag, CHURN_CONTACT, before, size + 1)
            # A correction may be on an earlier page than the contact that it corrects.
            recorded = [
                pb.Contact.FromString(event_answer(each)) for each in records.read_related(tag, (CHURN_CONTACT,))
            ]
        corrections = {each.corrects_contact_id: each.contact_id for each in recorded if each.corrects_contact_id}
        contacts = []
        for header, _, record in found[:size]:
            contact = pb.RecordedContact(
                contact_id=header.record_id, record_time=timestamp(time_from_us(header.time_us))
            )
            if isinstance(record, Record):
                contact.contact.CopyFrom(pb.Contact.FromString(event_answer(record)))
                contact.corrected_by_contact_id = corrections.get(header.record_id, "")
            else:
                contact.content_removed = True
            contacts.append(contact)
        token = tokens.write_position(_TOKEN_KIND, customer, [found[size - 1][1]]) if len(found) > size else ""
        return pb.ListContactsResponse(contacts=contacts, next_page_token=token)
