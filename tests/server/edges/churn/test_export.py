"""The export contains exactly the values of pages and of single reads, is sent in parts, and can be resumed."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pandas as pd
import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.edges.page_tokens import CopyState, ExportCursor, PageTokens
from server.stores.clock import utc_now
from server.stores.runs import export_chunks as chunks
from server.stores.runs.erasure import erase_predictions
from server.stores.tables import RISK_CHUNKS
from tests.conftest import Serving
from tests.server.churn_copies import erase, load_customers
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily, plain_rows, scored_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error

ZSTD_FRAME = b"\x28\xb5\x2f\xfd"  # the magic number at the start of every Zstandard frame


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


@pytest.fixture
async def loaded_serving(serving: Serving, churn_family: ChurnFamily, tmp_path: Any) -> Serving:
    """Serve two runs; the second run has customers of every status."""
    for as_of in (FIRST, SECOND):
        rows = scored_rows(churn_family.model, churn_family.customers.head(300), as_of)
        rows.loc[0:40, "decline_pd"] = 0.1 + 0.2
        rows.loc[30:60, "hold_out"] = True
        rows["suppressions"] = [["OPEN_COMPLAINT", "LEGAL"] if 50 <= at < 70 else [] for at in range(300)]
        if as_of == SECOND:
            others = plain_rows(churn_family.model, dict.fromkeys(("X1", "X2", "X3")), as_of)
            others["status"] = ["CLOSED", "MOVED_ENTITY", "NOT_ENOUGH_HISTORY"]
            rows = concatenate(rows, others)
        load_file(
            serving.application.database,
            write_run(tmp_path / f"{as_of:%m}.parquet", churn_family.model, rows),
            utc_now(),
        )
    return serving


def concatenate(rows: Any, others: Any) -> Any:
    """Concatenate rows."""
    return pd.concat([rows.astype(object), others.astype(object)], ignore_index=True)


async def parts(serving: Serving, **fields: Any) -> AsyncIterator[pb.ExportChurnRisksResponse]:
    """Yield the parts of an export."""
    async for part in serving.churn.ExportChurnRisks(
        pb.ExportChurnRisksRequest(**{"market": "DE", "include_withheld": True, **fields})
    ):
        yield part


def parse_part(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of a part."""
    with pa.ipc.open_stream(content) as stream:
        rows: list[dict[str, Any]] = stream.read_all().to_pylist(maps_as_pydicts="strict")
    return rows


def expected_row(risk: pb.ChurnRisk, texts: dict[str, list[str]]) -> dict[str, Any]:
    """Return the expected export row of a customer, computed from the customer's prediction on a page."""

    def band(value: int) -> str | None:
        return pb.RiskBand.Name(value).removeprefix("RISK_BAND_") if value else None

    def cents(name: str) -> int | None:
        money = getattr(risk, name)
        return money.units * 100 + money.nanos // 10**7 if risk.HasField(name) else None

    def there(name: str) -> Any:
        return getattr(risk, name) if risk.HasField(name) else None

    return {
        "customer_id": risk.customer.customer_id,
        "status": pb.ChurnStatus.Name(risk.status).removeprefix("CHURN_STATUS_"),
        "log_odds": there("log_odds"),
        "churn_probability": there("churn_probability"),
        "risk_band": band(risk.risk_band),
        "previous_band": band(risk.previous_band),
        "band_since_time": risk.band_since_time.ToDatetime(FIRST.tzinfo) if risk.HasField("band_since_time") else None,
        "rank": there("rank"),
        "value_at_risk_minor": cents("value_at_risk"),
        "expected_spend_minor": cents("expected_spend"),
        "decline_probability": there("decline_probability"),
        "hold_out": risk.hold_out,
        "suppressions": list(risk.suppressions),
        "action_allowed": risk.action_allowed,
        "drivers": [
            {
                "code": reason.code,
                "log_odds": reason.log_odds,
                "features": list(reason.features),
                "texts": {locale: texts[locale][place] for locale in ("de", "en")},
            }
            for place, reason in enumerate(risk.drivers.reasons)
        ],
    }


async def read_pages(serving: Serving, locale: str) -> dict[str, pb.ChurnRisk]:
    """Return the predictions of all customers by customer id, from a page of the change feed that contains all of them."""
    request = pb.ListChurnRiskChangesRequest(market="DE", page_size=1000, locale=locale, include_withheld=True)
    page = await serving.churn.ListChurnRiskChanges(request)
    assert page.delta_token
    return {risk.customer.customer_id: risk for risk in page.churn_risks}


async def test_the_export_equals_the_pages(loaded_serving: Serving) -> None:
    english, german = await read_pages(loaded_serving, "en"), await read_pages(loaded_serving, "de")
    words = {
        key: {
            "en": [reason.text for reason in english[key].drivers.reasons],
            "de": [reason.text for reason in german[key].drivers.reasons],
        }
        for key in english
    }

    rows = [row async for part in parts(loaded_serving) for row in parse_part(part.arrow_stream)]

    assert len(rows) == len(english) == 303
    assert {row["customer_id"]: row for row in rows} == {
        key: expected_row(risk, words[key]) for key, risk in english.items()
    }
    assert {row["status"] for row in rows} == {"SCORED", "CLOSED", "MOVED_ENTITY", "NOT_ENOUGH_HISTORY"}
    assert any(row["previous_band"] for row in rows) or {row["band_since_time"] for row in rows} >= {FIRST}


async def test_lists_equal_single_reads(loaded_serving: Serving) -> None:
    pages = await read_pages(loaded_serving, "")
    request = pb.ListChurnRisksRequest(market="DE", page_size=1000, include_withheld=True)
    listed = (await loaded_serving.churn.ListChurnRisks(request)).churn_risks
    batch = pb.BatchGetChurnRisksRequest(customers=[risk.customer for risk in pages.values()])
    got = (await loaded_serving.churn.BatchGetChurnRisks(batch)).churn_risks

    assert list(got) == list(pages.values())
    assert {risk.customer.customer_id: risk for risk in listed} == {
        key: risk for key, risk in pages.items() if risk.status == pb.CHURN_STATUS_SCORED
    }
    for key in ("X1", "C00003"):
        alone = (
            await loaded_serving.churn.GetChurnRisk(pb.GetChurnRiskRequest(customer=pages[key].customer))
        ).churn_risk
        assert alone.HasField("explanation") == (key != "X1")
        alone.ClearField("explanation")
        assert alone == pages[key]


async def test_an_export_resumes_after_any_part_within_its_run(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Any
) -> None:
    model, (first, second) = churn_family.model, ({f"C{n:03d}": float(n % 7) for n in range(50 + n)} for n in (0, 1))
    path = write_run(tmp_path / "first.parquet", model, plain_rows(model, first, FIRST))
    database = serving.application.database
    load_file(database, path, utc_now())
    with database.reading() as connection:
        line = connection.execute(RISK_CHUNKS.select()).one()
    batch = chunks.decode_chunk(bytes(line.content)).combine_chunks().to_batches()[0]
    small = chunks.split_batch(batch, 3000)
    assert len(small) > 3
    with database.writing() as connection:
        connection.execute(RISK_CHUNKS.delete())
        for chunk, (piece, content) in enumerate(small):
            values = {"run_number": line.run_number, "chunk": chunk, "row_count": piece.num_rows, "content": content}
            connection.execute(RISK_CHUNKS.insert().values(**values))

    whole = [part async for part in parts(serving)]
    load_file(database, write_run(tmp_path / "second.parquet", model, plain_rows(model, second, SECOND)), utc_now())
    for place, part in enumerate(whole[:-1], start=1):
        rest = [later async for later in parts(serving, resume_token=part.resume_token)]

        assert [later.arrow_stream for later in rest] == [later.arrow_stream for later in whole[place:]]
        assert {later.run.run_id for later in rest} == {part.run.run_id}
    assert [part.WhichOneof("next") for part in whole] == [*["resume_token"] * (len(whole) - 1), "delta_token"]
    ids = [row["customer_id"] for part in whole for row in parse_part(part.arrow_stream)]
    assert sorted(ids) == sorted(first)
    request = pb.ListChurnRiskChangesRequest(market="DE", delta_token=whole[-1].delta_token, include_withheld=True)
    changed = (await serving.churn.ListChurnRiskChanges(request)).churn_risks
    assert [risk.customer.customer_id for risk in changed] == ["C050"]


@pytest.mark.parametrize("compression", pb.ExportCompression.keys())
async def test_an_export_has_the_same_rows_in_either_compression(loaded_serving: Serving, compression: str) -> None:
    value = pb.ExportCompression.Value(compression)

    exported = [part async for part in parts(loaded_serving, compression=value)]

    assert [row for part in exported for row in parse_part(part.arrow_stream)] == [
        row async for part in parts(loaded_serving) for row in parse_part(part.arrow_stream)
    ]
    is_compressed = {ZSTD_FRAME in part.arrow_stream for part in exported}
    assert is_compressed == {compression == "EXPORT_COMPRESSION_ZSTD"}


async def test_a_resume_token_belongs_to_one_compression(serving: Serving, churn_family: ChurnFamily) -> None:
    await load_customers(serving, churn_family, {"A": 1.0, "B": 2.0}, FIRST)
    tokens = PageTokens(lambda: [serving.application.database.ensure_key("page_tokens")], 7, utc_now)
    state = tokens.read((await read_first_part(serving)).delta_token, CopyState)
    for compression, other in (("NONE", "ZSTD"), ("ZSTD", "NONE")):
        token = tokens.write(ExportCursor("DE", "", state.run, state.mark, 0, compression, 0, withheld=True))

        same = pb.ExportCompression.Value(f"EXPORT_COMPRESSION_{compression}")
        assert (await read_first_part(serving, resume_token=token, compression=same)).delta_token
        different = pb.ExportCompression.Value(f"EXPORT_COMPRESSION_{other}")
        refused = await call_error(read_first_part(serving, resume_token=token, compression=different))
        assert refused.reason == "RESYNC_REQUIRED"


def customers(count: int) -> pa.Table:
    """Return the export rows of the first customers, named C000, C001 and so on."""
    rows = [{"customer_id": f"C{number:03d}", "status": "SCORED", "drivers": []} for number in range(count)]
    return pa.Table.from_pylist(rows, schema=chunks.EXPORT_SCHEMA)


def test_an_uncompressed_chunk_is_sent_in_parts_of_limited_size_with_every_row_once() -> None:
    chunk = chunks.encode_chunk(customers(200))
    whole, nothing_left = chunks.uncompressed_part(chunk, 0)
    assert nothing_left == 0

    sent, left, sizes = [], 0, []
    while not sent or left:
        part, left = chunks.uncompressed_part(chunk, left, bytes_max=len(whole) // 3)
        sizes.append(len(part))
        sent += [row["customer_id"] for row in parse_part(part)]

    assert sent == [f"C{number:03d}" for number in range(200)]
    assert max(sizes) <= len(whole) // 3 < min(sizes) * 4
    assert len(sizes) <= 5


def test_an_oversized_row_is_a_part_of_its_own() -> None:
    part, left = chunks.uncompressed_part(chunks.encode_chunk(customers(3)), 0, bytes_max=1)

    assert [row["customer_id"] for row in parse_part(part)] == ["C000"]
    assert left == 2


@pytest.mark.parametrize(
    ("erased", "next_customer"), [("C000", "C010"), ("C150", "C009")], ids=["already sent", "not sent yet"]
)
def test_an_erasure_between_two_parts_of_a_chunk_skips_no_other_customer(erased: str, next_customer: str) -> None:
    chunk = chunks.encode_chunk(customers(200))
    left = 190  # the customers C000 to C009 were sent before

    _, chunk = chunks.remove_customer(chunk, erased)
    part, _ = chunks.uncompressed_part(chunk, left)

    assert parse_part(part)[0]["customer_id"] == next_customer


async def test_an_erased_customer_is_not_exported(loaded_serving: Serving) -> None:
    with loaded_serving.application.database.writing() as connection:
        erase_predictions(connection, "DE", "C00003", utc_now())

    rows = [row async for part in parts(loaded_serving) for row in parse_part(part.arrow_stream)]

    assert len(rows) == 302
    assert "C00003" not in {row["customer_id"] for row in rows}


async def read_first_part(serving: Serving, **fields: Any) -> pb.ExportChurnRisksResponse:
    """Return the first part of an export."""
    return await anext(parts(serving, **fields))


async def test_an_invalid_export_is_rejected_like_any_other_call(loaded_serving: Serving) -> None:
    token = (await read_first_part(loaded_serving)).delta_token
    for fields, code, reason in (
        ({"market": "IT"}, grpc.StatusCode.FAILED_PRECONDITION, "NO_RUN"),
        ({"market": "Italy"}, grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"),
        ({"resume_token": "nonsense"}, grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"),
        ({"resume_token": token}, grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED"),
    ):
        refused = await call_error(read_first_part(loaded_serving, **fields))

        assert (refused.code, refused.reason) == (code, reason)


async def test_a_bug_in_a_stream_is_an_incident_and_a_draining_server_rejects_new_streams(
    loaded_serving: Serving,
) -> None:
    """The bug is simulated by a run with an empty header, in which the export does not find a key."""
    with loaded_serving.application.database.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET header = '{}'")
    with capture_logs() as lines:
        hidden = await call_error(read_first_part(loaded_serving))
    loaded_serving.application.interceptor.draining = True
    drained = await call_error(read_first_part(loaded_serving))

    assert (hidden.code, hidden.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "bundle_id" not in hidden.everything
    assert drained.reason == "DRAINING"
    assert loaded_serving.application.interceptor.calls_in_progress == 0
    assert [line["error"] for line in lines if line["event"] == "bug"] == ["KeyError"]


async def test_a_caller_who_disconnects_leaves_no_call_in_progress(loaded_serving: Serving) -> None:
    call = loaded_serving.churn.ExportChurnRisks(pb.ExportChurnRisksRequest(market="DE"))
    await call.read()
    call.cancel()
    await loaded_serving.application.interceptor.wait_until_idle(0.05, 5)

    assert loaded_serving.application.interceptor.calls_in_progress == 0


async def test_a_market_whose_customers_are_all_erased_exports_no_rows(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    await load_customers(serving, churn_family, {"A": 1.0}, FIRST)
    erase(serving, "A")
    await load_customers(serving, churn_family, {"A": 1.0}, SECOND)

    part = await read_first_part(serving)

    assert part.run.as_of_time.ToDatetime(SECOND.tzinfo) == SECOND
    assert part.delta_token
    assert parse_part(part.arrow_stream) == []
