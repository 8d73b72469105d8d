"""Contacts with the customers of a run: appended, never edited, and exported as they are in force."""

import asyncio
import csv
import datetime as dt
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select
from typer.testing import CliRunner

from grounds.audit.v1 import evidence_pb2
from grounds.churn.v1 import churn_pb2 as pb
from grounds_record.header import parse_header
from server.commands.cli import app
from server.config import Settings
from server.maintenance.erasure import erase_customer
from server.stores.clock import utc_now
from server.stores.record_log.log import RecordLog
from server.stores.runs.pruning import RunRetention, prune_runs
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.churn_runs import FIRST, SECOND, THIRD, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error, customer
from training.results.contacts import CampaignContact, read_contacts

ODDS = {"A": 3.0, "B": 2.0, "C": 1.0, "X": None}  # B is held out, C is suppressed, X has no score
DAY = dt.timedelta(days=1)
CONCURRENT = 3


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


def load(serving: Serving, churn: ChurnFamily, folder: Path, as_of: dt.datetime = FIRST) -> str:
    """Load a run of the market DE; return its run_id."""
    rows = plain_rows(churn.model, ODDS, as_of)
    rows["hold_out"] = rows["customer_id"] == "B"
    rows["suppressions"] = [["DO_NOT_CONTACT"] if one == "C" else [] for one in rows["customer_id"]]
    run_id = f"{as_of:%m}" * 16
    path = write_run(folder / f"{as_of:%m}.parquet", churn.model, rows, run_id=run_id)
    load_file(serving.application.database, path, utc_now())
    return run_id


def contact_request(run_id: str, customer_id: str = "A", **changes: Any) -> pb.RecordContactRequest:
    """Return a request about a telephone call a month after the first run; `changes` replaces fields."""
    asked: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "customer": customer("DE", customer_id),
        "run_id": run_id,
        "contact_time": stamp(FIRST + 31 * DAY),
        "channel": pb.CONTACT_CHANNEL_PHONE,
    }
    return pb.RecordContactRequest(**{**asked, **changes})


def stamp(time: dt.datetime) -> Timestamp:
    """Return a time as a timestamp."""
    found = Timestamp()
    found.FromDatetime(time)
    return found


async def record(serving: Serving, request: pb.RecordContactRequest) -> pb.Contact:
    """Record a contact, and return it."""
    return (await serving.churn.RecordContact(request)).contact


def opened_log(serving: Serving) -> RecordLog:
    """Return the log of the server."""
    log = serving.application.log
    assert log is not None
    return log


def contact_records(serving: Serving) -> list[Any]:
    """Return the rows of the records of contacts."""
    with serving.application.database.reading() as connection:
        wanted = select(RECORDS).where(RECORDS.c.kind == "CHURN_CONTACT").order_by(RECORDS.c.record_index)
        return list(connection.execute(wanted))


async def export(serving: Serving, folder: Path, *options: str) -> tuple[list[dict[str, str]], list[str]]:
    """Export the contacts of January to March 2026; return the rows of the file, and what the command printed."""
    settings, config, file = serving.settings, folder / "config.toml", folder / "contacts.csv"
    names = ("bundles", "database", "keys", "master_key", "signing_key")
    config.write_text("\n".join(f'{name} = "{getattr(settings, name)}"' for name in names))
    words = ("--from", "2026-01-01", "--until", "2026-04-01", "--purpose", "effect of spring", "--to", str(file))
    command = ["contacts", *words, "--config", str(config), *options]
    done = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert done.exit_code == 0, (done.output, done.exception)
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened)), done.stdout.replace(str(file), "FILE").splitlines()


async def test_a_contact_states_the_campaign_of_its_run_and_whether_the_run_withholds_the_customer(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)

    found = [await record(serving, contact_request(run_id, each)) for each in "ABCX"]
    named = await record(serving, contact_request(run_id, campaign="Rückruf 2026"))

    assert [each.HasField("withheld") and each.withheld for each in found] == [False, True, True, False]
    assert {each.campaign for each in found} == {"spring"}
    assert named.campaign == "Rückruf 2026"
    rows = contact_records(serving)
    assert [row.record_id for row in rows] == [each.contact_id for each in (*found, named)]
    headers = [parse_header(bytes(row.header)) for row in rows]
    assert {header.labels["market"] for header in headers} == {"DE"}
    assert {header.labels["about"] for header in headers} == {str(uuid.UUID(hex=run_id))}
    assert rows[0].customer_tag == opened_log(serving).customer_tag("DE", "A")


async def test_all_invalid_fields_of_a_contact_are_reported_in_one_error(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    none = pb.CONTACT_CHANNEL_NONE

    bare = await call_error(serving.churn.RecordContact(pb.RecordContactRequest(campaign="=1+1")))
    early = await call_error(
        serving.churn.RecordContact(contact_request(run_id, channel=none, contact_time=stamp(FIRST - DAY)))
    )
    unknown = contact_request(run_id, corrects_contact_id=str(uuid.uuid4()), contact_time=stamp(utc_now() + DAY))
    late = await call_error(serving.churn.RecordContact(unknown))

    assert set(bare.problems) == {"request_id", "customer", "run_id", "contact_time", "channel", "campaign"}
    assert (early.code, early.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTACT_INVALID")
    assert early.problems == {
        "contact_time": "must not be before the as-of time of the run, 2026-01-01 00:00 UTC",
        "channel": "must not be NONE unless this contact corrects another one",
    }
    assert late.problems == {
        "contact_time": "must not be in the future",
        "corrects_contact_id": "must be the contact_id of a contact of this customer and run",
    }
    for offset in (-4, 4):  # clocks differ
        near = FIRST + dt.timedelta(minutes=offset) if offset < 0 else utc_now() + dt.timedelta(minutes=offset)
        await record(serving, contact_request(run_id, contact_time=stamp(near)))
    assert len(contact_records(serving)) == 2


async def test_only_the_newest_contact_of_a_chain_of_corrections_can_be_corrected(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id, other_run = load(serving, churn_family, tmp_path), load(serving, churn_family, tmp_path, SECOND)
    first = await record(serving, contact_request(run_id))

    async def correct(contact: pb.Contact, **changes: Any) -> pb.Contact:
        return await record(serving, contact_request(run_id, corrects_contact_id=contact.contact_id, **changes))

    second = await correct(first, channel=pb.CONTACT_CHANNEL_VISIT)
    again = await call_error(correct(first))
    foreign = await call_error(correct(second, customer=customer("DE", "B")))
    of_other_run = contact_request(other_run, corrects_contact_id=second.contact_id, contact_time=stamp(SECOND + DAY))
    other = await call_error(serving.churn.RecordContact(of_other_run))
    withdrawn = await correct(second, channel=pb.CONTACT_CHANNEL_NONE)

    assert again.problems == {
        "corrects_contact_id": f"this contact was corrected before; correct contact {second.contact_id} instead"
    }
    assert foreign.kinds == other.kinds == {"corrects_contact_id": "UNKNOWN"}
    assert withdrawn.corrects_contact_id == second.contact_id
    assert (await export(serving, tmp_path))[0] == []


async def test_one_of_several_concurrent_corrections_is_recorded(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    first = await record(serving, contact_request(run_id))
    requests = [contact_request(run_id, corrects_contact_id=first.contact_id) for _ in range(CONCURRENT)]

    with opened_log(serving).database.writing() as connection:
        opened_log(serving).lock_head(connection)  # all are checked before one is appended
        under_way = [asyncio.ensure_future(record(serving, each)) for each in requests]
        await asyncio.sleep(0.5)
        assert not any(call.done() for call in under_way)
    answers = await asyncio.gather(*under_way, return_exceptions=True)

    (recorded,) = [each for each in answers if isinstance(each, pb.Contact)]
    refused = [each.code() for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert refused == [grpc.StatusCode.INVALID_ARGUMENT] * (CONCURRENT - 1)
    assert [row.record_id for row in contact_records(serving)] == [first.contact_id, recorded.contact_id]


async def test_a_repeated_contact_is_recorded_once_and_different_content_is_rejected(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    request = contact_request(run_id)

    answers = [await record(serving, request) for _ in range(3)]
    request.channel = pb.CONTACT_CHANNEL_EMAIL
    error = await call_error(serving.churn.RecordContact(request))

    assert answers[0] == answers[1] == answers[2]
    assert error.reason == "REQUEST_ID_REUSED"
    assert len(contact_records(serving)) == 1


async def test_a_run_or_a_customer_that_the_market_never_had_is_rejected(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    other = await record(serving, contact_request(run_id))
    asked = {
        "no run": contact_request("0" * 32),
        "another market": contact_request(run_id, customer=customer("FR", "A")),
        "no record of a run": contact_request(other.contact_id.replace("-", "")),
        "no customer": contact_request(run_id, "Q"),
    }

    reasons = {name: (await call_error(serving.churn.RecordContact(each))).reason for name, each in asked.items()}

    assert reasons == dict.fromkeys(("no run", "another market", "no record of a run"), "RUN_UNKNOWN") | {
        "no customer": "CUSTOMER_UNKNOWN"
    }
    assert len(contact_records(serving)) == 1


async def test_a_contact_about_a_run_whose_predictions_were_deleted_is_recorded_from_the_record_of_the_run(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id, *_ = (load(serving, churn_family, tmp_path, as_of) for as_of in (FIRST, SECOND, THIRD))
    load(serving, churn_family, tmp_path, SECOND)
    load(serving, churn_family, tmp_path, THIRD)
    assert prune_runs(serving.application.database, RunRetention(2, 0.0), utc_now() + DAY) == 1

    contact = await record(serving, contact_request(run_id, campaign="spring"))
    early = await call_error(serving.churn.RecordContact(contact_request(run_id, contact_time=stamp(FIRST - DAY))))

    assert not contact.HasField("withheld")
    assert early.kinds == {"contact_time": "RANGE"}
    (row,) = (await export(serving, tmp_path))[0]
    assert (row["contact_id"], row["withheld"]) == (contact.contact_id, "")


async def test_an_erased_customer_is_not_recorded_again_after_the_predictions_were_deleted(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id, *_ = (load(serving, churn_family, tmp_path, as_of) for as_of in (FIRST, SECOND, THIRD))
    await record(serving, contact_request(run_id))
    erase_customer(opened_log(serving), ("DE", "A"), "request 7", utc_now())
    before = (await call_error(serving.churn.RecordContact(contact_request(run_id)))).reason
    assert prune_runs(serving.application.database, RunRetention(2, 0.0), utc_now() + DAY) == 1

    after = (await call_error(serving.churn.RecordContact(contact_request(run_id)))).reason

    assert (before, after) == ("CUSTOMER_UNKNOWN", "CUSTOMER_UNKNOWN")
    assert len(contact_records(serving)) == 1
    await record(serving, contact_request(run_id, "B"))


async def test_the_export_counts_corrections_of_its_window_only(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    later = stamp(dt.datetime(2026, 4, 2, tzinfo=dt.UTC))
    wrong = await record(serving, contact_request(run_id, contact_time=later))
    none: dict[str, Any] = {"channel": pb.CONTACT_CHANNEL_NONE, "corrects_contact_id": wrong.contact_id}
    await record(serving, contact_request(run_id, contact_time=later, **none))

    rows, printed = await export(serving, tmp_path)

    assert (rows, printed) == ([], ["FILE: 0 contacts"])


async def test_the_export_has_the_contacts_of_its_window_that_are_in_force_and_counts_the_others(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    run_id = load(serving, churn_family, tmp_path)
    kept = await record(serving, contact_request(run_id, campaign='a, "b"'))
    held_out = await record(serving, contact_request(run_id, "B", channel=pb.CONTACT_CHANNEL_EMAIL))
    await record(serving, contact_request(run_id, "X", contact_time=stamp(dt.datetime(2026, 4, 1, tzinfo=dt.UTC))))
    wrong = await record(serving, contact_request(run_id, "X"))
    none = {"channel": pb.CONTACT_CHANNEL_NONE, "corrects_contact_id": wrong.contact_id}
    await record(serving, contact_request(run_id, "X", **none))
    await record(serving, contact_request(run_id, "C"))
    erase_customer(opened_log(serving), ("DE", "C"), "request 7", utc_now())

    rows, printed = await export(serving, tmp_path)
    for_results = read_contacts(tmp_path / "contacts.csv")
    of_france, _ = await export(serving, tmp_path, "--market", "FR")

    time = "2026-02-01T00:00:00+00:00"
    assert rows == [
        {
            "market": "DE",
            "customer_id": customer_id,
            "day": "2026-02-01",
            "run_id": run_id,
            "contact_time": time,
            "channel": channel,
            "campaign": campaign,
            "withheld": withheld,
            "contact_id": contact.contact_id,
        }
        for customer_id, channel, campaign, withheld, contact in (
            ("A", "PHONE", 'a, "b"', "false", kept),
            ("B", "EMAIL", "spring", "true", held_out),
        )
    ]
    assert of_france == []
    day = dt.date(2026, 2, 1)
    assert for_results.contacts == {
        CampaignContact(("DE", "A"), day, 'a, "b"'),
        CampaignContact(("DE", "B"), day, "spring"),
    }
    assert printed == [
        "FILE: 2 contacts",
        "left out: 1 corrected, 1 that did not take place",
        "not read: 1 (customer erased)",
    ]
    assert (tmp_path / "contacts.csv").stat().st_mode & 0o777 == 0o600
    readings = read_readings(serving)
    assert [(each.method, each.purpose, each.decision_count) for each in readings] == [
        ("contacts", "effect of spring", 6),
        ("contacts", "effect of spring", 0),
    ]


def read_readings(serving: Serving) -> list[evidence_pb2.EvidenceReadingRecord]:
    """Return the bodies of the records of readings."""
    with serving.application.database.reading() as connection:
        wanted = select(RECORDS.c.record_id).where(RECORDS.c.kind == "EVIDENCE_READING")
        names = connection.execute(wanted.order_by(RECORDS.c.record_index)).scalars().all()
    found = [opened_log(serving).find_by_id(name) for name in names]
    return [evidence_pb2.EvidenceReadingRecord.FromString(each.body) for each in found if each is not None]
