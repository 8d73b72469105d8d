"""After an erasure no file contains a value of the customer, neither as plain text nor encrypted under an existing key.

The erasure runs while a server uses the same database. The tests plant values that no other customer has (canaries), and
search all files for them.
"""

import asyncio
import hmac
import random
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
import sqlalchemy
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from grounds.credit.v1 import credit_pb2 as pb
from grounds_client.commands.record_log import export_log
from grounds_record.key_files import read_secret
from server.config import Settings
from server.maintenance.erasure import erase_customer, rewrite_files
from server.stores.runs.export_chunks import EXPORT_SCHEMA, encode_chunk
from server.stores.tables import FEATURES, RISK_CHUNKS, RISKS
from tests.conftest import ROOT, Serving
from tests.e2e.processes import write_config
from tests.server.conftest import churn_database, churn_family, churn_settings, postgres
from tests.server.events import outcome_request, override_request
from tests.server.record_logs import NOW, open_test_log
from tests.server.requests import call_error, customer, numbers, score_request
from tests.server.servers import serve

__all__ = ["churn_database", "churn_family", "churn_settings", "postgres"]
CUSTOMER_ID = "CANARY-4711"
STORED, SENT, EXPORTED_VALUE = 111.22233344455, 98765.43211234, struct.unpack("<d", b"48151623")[0]
PLANTED_CHUNK = 99
CANARIES = {
    "number": CUSTOMER_ID.encode(),
    "stored value": struct.pack("<d", STORED),
    "given value": struct.pack("<d", SENT),
    "exported value": struct.pack("<d", EXPORTED_VALUE),
    "comment": b"canary-comment",
    "person": b"canary-person",
    "driver": b"canary-driver",
}

# A script that searches all files of a folder for canaries, and prints the canaries that it finds. It also searches within
# compressed streams. SQLite spreads a long stream over several pages, each of which begins with the 4-byte number of the next
# page, so the script also searches each file with the first 4 bytes of every page removed.
SEARCH = r"""
import pathlib, re, sys
import pyarrow

def streams(content):
    yield content
    for match in re.finditer(rb"\x28\xb5\x2f\xfd", content):
        length = int.from_bytes(content[max(match.start() - 8, 0) : match.start()], "little")
        frame = pyarrow.BufferReader(pyarrow.py_buffer(content).slice(match.start()))
        if 0 < length < 1 << 24:
            try:
                yield pyarrow.CompressedInputStream(frame, "zstd").read(length)
            except OSError:
                continue

found = set()
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    content = path.read_bytes() if path.is_file() else b""
    pages = b"".join(content[at + 4 : at + 4096] for at in range(0, len(content), 4096))
    for plain in (*streams(content), *streams(pages)):
        found |= {canary for canary in sys.argv[2:] if bytes.fromhex(canary) in plain}
print(*found)
"""
# Ages the tombstone by 15 days. A tombstone is kept for 14 days, so that CRMs learn which customer they must delete.
A_FORTNIGHT_LATER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
changed = "UPDATE risk_tombstones SET erase_time = datetime(erase_time, '-15 days') || '.000000' RETURNING customer_id"
assert [row[0] for row in database.execute(changed)] == [sys.argv[2]]
"""


def export_chunk() -> bytes:
    """Return a chunk of an export in which the customer's values are only visible after decompression."""
    chance = random.Random(5)  # noqa: S311 - test data
    # The values contain only ten different bytes, so that zstd compresses the values.
    values = [f"{chance.randrange(10**8):08d}" for _ in range(400)]
    rows = [{"customer_id": value, "decline_probability": struct.unpack("<d", value.encode())[0]} for value in values]
    rows.insert(200, {"customer_id": CUSTOMER_ID, "decline_probability": EXPORTED_VALUE})
    content = encode_chunk(pa.Table.from_pylist(rows, schema=EXPORT_SCHEMA))
    assert not any(canary in content for canary in CANARIES.values())
    return content


def plant(engine: sqlalchemy.Engine) -> None:
    """Insert features, a prediction and an exported row of a customer, with values that no other customer has."""
    with engine.begin() as connection:
        features = connection.execute(select(FEATURES).where(FEATURES.c.customer_id == "C00000")).mappings().one()
        row = struct.pack("<d", STORED) + features["row"][8:]
        connection.execute(FEATURES.insert().values({**features, "customer_id": CUSTOMER_ID, "row": row}))
        risk = connection.execute(select(RISKS).where(RISKS.c.customer_id == "C00000")).mappings().one()
        content = export_chunk()
        chunk = {"run_number": risk["run_number"], "chunk": PLANTED_CHUNK, "row_count": 401, "content": content}
        connection.execute(RISK_CHUNKS.insert().values(**chunk))
        drivers = '[{"code":"DELAY","log_odds":1,"features":[],"texts":{"en":"canary-driver"}}]'
        connection.execute(
            RISKS.insert().values(
                {
                    **risk,
                    "customer_id": CUSTOMER_ID,
                    "rank": 5000,
                    "features": row,
                    "drivers": drivers,
                    "chunk": PLANTED_CHUNK,
                }
            )
        )


def find_canaries(folder: Path) -> set[str]:
    """Return the names of the canaries that any file contains, compressed or not.

    The search runs in a process of its own, because a process that opens and closes a file of an SQLite database loses the
    locks that it has on the database.
    """
    searched = [canary.hex() for canary in CANARIES.values()]
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(folder), *searched], check=True, capture_output=True, text=True
    )
    return {name for name, canary in CANARIES.items() if canary.hex() in done.stdout.split()}


def find_canaries_under_keys(folder: Path) -> set[str]:
    """Return the names of the canaries in all records that any existing key decrypts; read the database files directly."""
    with sqlite3.connect(folder / "keys.db") as keys, sqlite3.connect(folder / "grounds.db") as log:
        wrapped = keys.execute("SELECT key_id, wrapped FROM wrapped_keys").fetchall()
        records = log.execute("SELECT header, ciphertext FROM records WHERE ciphertext IS NOT NULL").fetchall()
    keys.close()
    log.close()
    master = read_secret(folder / "master.key")
    bodies = b""
    for name, content in wrapped:
        key = AESGCM(master).decrypt(content[1:13], content[13:], name.encode())
        sealing = AESGCM(hmac.digest(key, b"grounds/seal/1", "sha256"))
        for header, ciphertext in records:
            try:
                bodies += sealing.decrypt(ciphertext[:12], ciphertext[12:], header)
            except InvalidTag:
                continue
    return {name for name, canary in CANARIES.items() if canary in bodies}


@pytest.fixture
async def serving(churn_settings: Settings, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve a database that contains the planted customer."""
    engine = sqlalchemy.create_engine(churn_settings.database)
    plant(engine)
    engine.dispose()
    anchors = tmp_path / "anchors"
    anchors.mkdir()
    async with serve(churn_settings.model_copy(update={"anchor_folder": anchors, "anchor_seconds": 0.1})) as found:
        yield found


async def record_history(serving: Serving) -> str:
    """Record a decision, an override and an outcome of the customer; return the id of the decision."""
    request = score_request(customer=customer("DE", CUSTOMER_ID), features=numbers(turnover=SENT))
    decision = (await serving.credit.ScoreCredit(request)).credit_decision
    for outcome, reason in ((pb.DECISION_DECLINE, "FRAUD_SUSPECTED"), (pb.DECISION_APPROVE, "NEW_INFORMATION")):
        event = override_request(
            decision, decision=outcome, reason_code=reason, user_id="canary-person", comment="canary-comment"
        )
        try:
            await serving.credit.RecordOverride(event)
        except grpc.aio.AioRpcError:
            continue  # the decision has this outcome already, so the server rejects the override
    await serving.credit.RecordOutcome(outcome_request(decision))
    return decision.record_ref.decision_id


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the server as an operator does."""
    arguments = [sys.executable, "-m", "server", *words]
    return subprocess.run(arguments, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)


def let_a_fortnight_pass(serving: Serving, config: Path) -> None:
    """Age the tombstone by more than a fortnight, and then delete expired data."""
    database = serving.settings.database.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", A_FORTNIGHT_LATER, database, CUSTOMER_ID], check=True)
    pruned = command("retain", "--apply", "--config", str(config))
    assert pruned.returncode == 0, pruned.stderr


async def test_after_an_erasure_no_file_contains_the_customers_values_as_plain_text_or_under_an_existing_key(
    serving: Serving, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("database", "keys", "master_key", "signing_key", "bundles", "policy", "retention")
    config = write_config(tmp_path / "config.toml", {name: getattr(serving.settings, name) for name in names})
    await serving.credit.ScoreCredit(score_request())
    decision_id = await record_history(serving)
    address = f"127.0.0.1:{serving.application.port}"
    await asyncio.to_thread(export_log, tmp_path / "today.log", 0, None, None, address)
    before = find_canaries(tmp_path), find_canaries_under_keys(tmp_path)
    words = ("erase", "DE", CUSTOMER_ID, "--reason", "request 7", "--config", str(config))

    preview = await asyncio.to_thread(command, *words)
    after_preview = find_canaries(tmp_path), find_canaries_under_keys(tmp_path)
    done = await asyncio.to_thread(command, *words, "--apply")
    again = await asyncio.to_thread(command, *words, "--apply")
    read = await call_error(serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decision_id)))
    scored = await call_error(serving.credit.ScoreCredit(score_request(customer=customer("DE", CUSTOMER_ID))))
    await asyncio.to_thread(export_log, tmp_path / "later.log", 0, None, None, address)
    doctor = await asyncio.to_thread(command, "doctor", str(config))
    left = find_canaries(tmp_path)
    await asyncio.to_thread(let_a_fortnight_pass, serving, config)
    printed = "".join(capfd.readouterr()).encode()

    assert before == (
        {"number", "stored value", "exported value", "driver"},
        {"number", "given value", "stored value", "comment", "person"},
    )
    assert after_preview == before
    for finished, message in ((preview, "would erase 1 key"), (done, "erased 1 key"), (again, "erased earlier")):
        assert finished.returncode == 0, finished.stderr
        assert message in finished.stdout
    assert "1 feature rows, 1 run rows" in preview.stdout
    # Only the tombstone still contains the customer number.
    assert (left, find_canaries_under_keys(tmp_path)) == ({"number"}, set())
    assert find_canaries(tmp_path) == set()
    assert not any(canary in printed for canary in CANARIES.values())
    assert (read.reason, scored.reason) == ("RECORD_REMOVED", "CUSTOMER_UNKNOWN")
    assert ": verified" in doctor.stdout


async def test_the_search_finds_a_value_that_is_left_only_in_a_chunk_of_the_export(
    serving: Serving, tmp_path: Path
) -> None:
    """All other data of the customer are deleted first, so that only the chunk still contains a canary."""
    database = sqlalchemy.create_engine(serving.settings.database)
    with database.begin() as connection:
        connection.execute(FEATURES.delete().where(FEATURES.c.customer_id == CUSTOMER_ID))
        connection.execute(RISKS.delete().where(RISKS.c.customer_id == CUSTOMER_ID))
    database.dispose()
    vacuum = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM').execute('PRAGMA wal_checkpoint(TRUNCATE)')"
    )
    file = serving.settings.database.removeprefix("sqlite:///")
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", vacuum, file], check=True)

    assert find_canaries(tmp_path) == {"number", "exported value"}


def test_the_table_files_of_postgresql_do_not_contain_the_rows_of_an_erased_customer(
    postgres: sqlalchemy.Engine, tmp_path: Path
) -> None:
    name = "forgotten"
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        base = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one()) / "base"
    url = postgres.url.set(database=name).render_as_string(hide_password=False)

    def files_contain(canary: bytes) -> bool:
        with postgres.connect() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        return any(canary in path.read_bytes() for path in base.rglob("*") if path.is_file())

    with open_test_log(url, tmp_path) as log:
        line = {"market": "DE", "feature_set_digest": "0" * 64, "as_of": NOW, "row": b"canary-row"}
        customers = [{**line, "customer_id": f"CANARY-{number}"} for number in range(200)]
        with log.database.writing() as connection:
            connection.execute(FEATURES.insert(), customers)
        before = files_contain(b"CANARY-78"), files_contain(b"CANARY-77")

        erase_customer(log, ("DE", "CANARY-77"), "request 7", NOW)
        rewrite_files(log)

        assert before == (True, True)
        assert (files_contain(b"CANARY-78"), files_contain(b"CANARY-77")) == (True, False)
