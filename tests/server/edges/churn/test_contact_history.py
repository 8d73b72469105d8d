"""The contacts with one customer are listed newest first, each with what became of it, and no other customer's."""

from pathlib import Path

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.maintenance.erasure import erase_customer
from server.stores.clock import utc_now
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.churn_runs import FIRST, ChurnFamily, plain_rows, write_run
from tests.server.edges.churn.test_contacts import contact_request, opened_log, record
from tests.server.loading import load_file
from tests.server.requests import call_error, customer

RUN_ID = "01" * 16


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


@pytest.fixture
def loaded(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> Serving:
    """Return the server with a run of two customers."""
    rows = plain_rows(churn_family.model, {"A": 3.0, "B": 2.0}, FIRST)
    path = write_run(tmp_path / "run.parquet", churn_family.model, rows, run_id=RUN_ID)
    load_file(serving.application.database, path, utc_now())
    return serving


async def list_all(serving: Serving, customer_id: str, size: int = 0) -> list[pb.RecordedContact]:
    """Return the contacts of every page."""
    request, found = pb.ListContactsRequest(customer=customer("DE", customer_id), page_size=size), []
    while True:
        page = await serving.churn.ListContacts(request)
        assert len(page.contacts) <= (size or 20)
        found += page.contacts
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_contacts_are_listed_newest_first_as_they_were_recorded_and_of_one_customer_only(loaded: Serving) -> None:
    made = [await record(loaded, contact_request(RUN_ID, "A", campaign=f"c{number}")) for number in range(7)]
    await record(loaded, contact_request(RUN_ID, "B"))

    for size in (0, 1, 3, 7):
        found = await list_all(loaded, "A", size)
        assert [each.contact for each in found] == list(reversed(made))
        assert [each.contact_id for each in found] == [each.contact_id for each in reversed(made)]
        assert all(each.record_time == each.contact.record_time for each in found)
        assert not any(each.corrected_by_contact_id or each.content_removed for each in found)
    assert await list_all(loaded, "NOBODY") == []


async def test_a_corrected_contact_names_its_correction_also_on_a_later_page(loaded: Serving) -> None:
    wrong = await record(loaded, contact_request(RUN_ID, "A"))
    other = await record(loaded, contact_request(RUN_ID, "A"))
    correction = contact_request(RUN_ID, "A", corrects_contact_id=wrong.contact_id, channel=pb.CONTACT_CHANNEL_NONE)
    none = await record(loaded, correction)

    found = await list_all(loaded, "A", 1)

    assert [each.contact_id for each in found] == [none.contact_id, other.contact_id, wrong.contact_id]
    assert [each.corrected_by_contact_id for each in found] == ["", "", none.contact_id]


async def test_a_contact_whose_content_was_removed_is_listed_without_its_content(loaded: Serving) -> None:
    first = await record(loaded, contact_request(RUN_ID, "A"))
    second = await record(loaded, contact_request(RUN_ID, "A"))
    with loaded.application.database.writing() as connection:
        old = RECORDS.c.record_id == first.contact_id
        connection.execute(RECORDS.update().where(old).values(ciphertext=None))

    newest, oldest = await list_all(loaded, "A")

    assert (newest.contact, newest.content_removed) == (second, False)
    assert (oldest.contact_id, oldest.record_time) == (first.contact_id, first.record_time)
    assert (oldest.content_removed, oldest.HasField("contact")) == (True, False)


async def test_an_erased_customer_has_no_readable_contact(loaded: Serving) -> None:
    await record(loaded, contact_request(RUN_ID, "A"))
    erase_customer(opened_log(loaded), ("DE", "A"), "request 7", utc_now())

    assert not any(each.HasField("contact") for each in await list_all(loaded, "A"))


async def test_a_token_is_valid_only_for_its_customer(loaded: Serving) -> None:
    for _ in range(2):
        await record(loaded, contact_request(RUN_ID, "A"))
    page = await loaded.churn.ListContacts(pb.ListContactsRequest(customer=customer("DE", "A"), page_size=1))

    other = pb.ListContactsRequest(customer=customer("DE", "B"), page_token=page.next_page_token)
    error = await call_error(loaded.churn.ListContacts(other))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
