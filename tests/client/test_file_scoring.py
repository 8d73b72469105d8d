"""`grounds score --from --to` against a real server: a killed run continues, and no row is decided twice."""

import asyncio
import csv
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select

from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, CallFailed, Client, CreditRequest
from grounds_client.errors import ScoringRefused
from grounds_client.file_scoring import FileScoring, FileScoringResult
from server.config import Settings
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.tables import RECORDS
from tests.client.command_line import run_offline, run_process
from tests.conftest import Serving
from tests.server.requests import UNKNOWN_CUSTOMER
from tests.server.servers import record_count, serve, wait_until

HEADER = "market,customer_id,amount,features.turnover,locale"
# Scores a file, and kills its own process immediately before the fsync with this number.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from grounds_client import Client
from grounds_client.file_scoring import FileScoring

number, address, applications, to = sys.argv[1:]
fsync, calls = os.fsync, []

def killing_fsync(descriptor):
    calls.append(descriptor)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = killing_fsync
with Client(address) as client:
    FileScoring(client, Path(applications), Path(to), lambda _done, _total: None).run()
"""


def write_file(path: Path, count: int, *extra: str) -> Path:
    """Write an application file with some customers of the small family and these rows; return its path."""
    rows = [
        f"{('DE', 'FR')[number % 2]},C{number:05},{500 + number}EUR,{1000 + number},{('', 'de')[number % 2]}"
        for number in range(count)
    ]
    path.write_text("\n".join([HEADER, *rows, *extra]) + "\n")
    return path


def read_file(path: Path) -> list[dict[str, str]]:
    """Return the rows of an answer file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def score(serving: Serving, applications: Path, to: Path) -> FileScoringResult:
    """Score a file in a thread of this process."""

    def work() -> FileScoringResult:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return FileScoring(client, applications, to, lambda _done, _total: None).run()

    return await asyncio.to_thread(work)


async def kill_at(serving: Serving, moment: int, applications: Path, to: Path) -> int:
    """Score a file in a new process and kill the process before an fsync; return its exit status."""
    address = f"127.0.0.1:{serving.application.port}"
    command = [sys.executable, "-c", KILLED_AT, str(moment), address, str(applications), str(to)]
    done = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, timeout=60)
    return done.returncode


async def test_the_file_of_answers_has_each_row_once_and_the_command_counts_what_has_no_decision(
    serving: Serving, tmp_path: Path
) -> None:
    applications = write_file(tmp_path / "in.csv", 520, f"DE,{UNKNOWN_CUSTOMER},5EUR,,", "AT,C00000,5EUR,,")
    words = ("score", "--from", str(applications), "--to", str(tmp_path / "out.csv"))

    done = await run_process(serving, *words)
    again = await run_process(serving, *words)

    rows = read_file(tmp_path / "out.csv")
    assert (done.returncode, again.returncode) == (0, 0), done.stderr
    assert done.stdout == again.stdout
    assert "520 decisions: " in done.stdout
    assert "2 rows have no decision: 1 CUSTOMER_UNKNOWN, 1 NO_ACTIVE_MODEL" in done.stderr
    assert [int(row["line"]) for row in rows] == list(range(2, 524))
    assert [row["error"] for row in rows[-2:]] == ["CUSTOMER_UNKNOWN", "NO_ACTIVE_MODEL"]
    assert record_count(serving) == 520
    with Client(f"127.0.0.1:{serving.application.port}") as client:
        recorded = await asyncio.to_thread(client.get_credit_decision, rows[1]["decision_id"])
    decision = recorded.credit_decision
    assert rows[1]["request_id"] == decision.record_ref.request_id
    assert rows[1]["score"] == str(decision.assessment.model_output.score)
    assert float(rows[1]["pd"]) == decision.assessment.model_output.pd
    assert rows[1]["reasons"] == "; ".join(reason.text for reason in decision.assessment.reasons.reasons)
    assert decision.assessment.reasons.locale == "de"
    names = {name for name in os.listdir(tmp_path) if name.startswith("out")}  # noqa: PTH208
    assert names == {"out.csv", "out.csv.state.json", "out.csv.lock"}
    assert {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in names} == {0o600}  # noqa: PTH116


async def test_a_run_that_is_killed_at_any_moment_continues_and_decides_no_row_twice(
    serving: Serving, tmp_path: Path
) -> None:
    applications = write_file(tmp_path / "in.csv", 520)
    complete = tmp_path / "complete.csv"
    await score(serving, applications, complete)
    expected = [(row["line"], row["decision"], row["score"], row["reasons"]) for row in read_file(complete)]
    killed = 0
    for moment in range(1, 12):  # the state, the header, two batches, the finished state
        to, before = tmp_path / f"{moment}.csv", record_count(serving)
        status = await kill_at(serving, moment, applications, to)
        killed += status == -signal.SIGKILL
        part = to.with_name(f"{to.name}.part")
        if part.exists():
            with part.open("a") as file:
                file.write("7,half of a ro")  # a row that was not written completely

        await score(serving, applications, to)

        rows = read_file(to)
        assert [(row["line"], row["decision"], row["score"], row["reasons"]) for row in rows] == expected
        assert len({row["decision_id"] for row in rows}) == 520
        assert record_count(serving) == before + 520, moment
        if status == 0:
            break
    assert killed >= 5


def test_all_invalid_rows_are_listed_and_nothing_is_sent(tmp_path: Path) -> None:
    applications = write_file(tmp_path / "in.csv", 1, "DE,C1,many,,", ",C1,5EUR,,", "DE,C1")

    with Client("127.0.0.1:1") as client, pytest.raises(ScoringRefused) as refused:
        FileScoring(client, applications, tmp_path / "out.csv", lambda _done, _total: None).run()

    lines = str(refused.value).splitlines()
    assert "3 invalid rows, so nothing was sent" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["line 3", "line 4", "line 5"]
    assert "amount: must be a number and a three-letter currency code" in lines[1]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("market,customer_id", "the column amount is missing"),
        ("market;customer_id;amount", "the separator must be a comma"),
        ("market,customer_id,amount,turnover", "the column 'turnover' is unknown"),
        ("market,customer_id,amount,amount", "the column amount occurs more than once"),
        ("market,customer_id,amount", "has no rows"),
        ("", "the column market is missing"),
    ],
)
def test_a_file_without_the_right_columns_is_rejected(tmp_path: Path, header: str, problem: str) -> None:
    (tmp_path / "in.csv").write_text(f"{header}\n")
    with Client("127.0.0.1:1") as client, pytest.raises(ScoringRefused, match=problem):
        FileScoring(client, tmp_path / "in.csv", tmp_path / "out.csv", lambda _done, _total: None).run()


async def test_a_file_of_another_run_is_never_overwritten(serving: Serving, tmp_path: Path) -> None:
    applications, to = write_file(tmp_path / "in.csv", 2), tmp_path / "out.csv"
    await score(serving, applications, to)
    before = to.read_bytes()
    write_file(applications, 3)

    with pytest.raises(ScoringRefused, match="different application file"):
        await score(serving, applications, to)
    (other := tmp_path / "other.csv").write_text("mine")
    with pytest.raises(ScoringRefused, match="exists"):
        await score(serving, applications, other)

    assert (to.read_bytes(), other.read_text()) == (before, "mine")


async def test_a_run_outlives_a_restart_of_the_server_and_smaller_limits(
    small_settings: Settings, tmp_path: Path
) -> None:
    applications = write_file(tmp_path / "in.csv", 300)
    settings = small_settings.model_copy(update={"request_bytes_max": 4000})
    async with serve(settings) as serving:
        port = serving.application.port
        scoring = asyncio.ensure_future(score(serving, applications, tmp_path / "out.csv"))
        await wait_until(lambda: asyncio.sleep(0, record_count(serving) > 0))
    async with serve(settings.model_copy(update={"port": port})) as serving:
        result = await scoring

        assert (sum(result.decisions.values()), sum(result.errors.values())) == (300, 0)
        with serving.application.database.reading() as connection:
            kinds = list(connection.execute(select(RECORDS.c.kind)).scalars())
        assert kinds.count(CREDIT_DECISION) == 300


async def test_the_client_yields_a_decision_or_an_error_for_each_request(serving: Serving) -> None:
    amount = Amount.parse("500EUR")
    requests = [CreditRequest("DE", "C00000", amount), CreditRequest("DE", UNKNOWN_CUSTOMER, amount)]

    def work() -> list[credit_pb2.CreditDecision | CallFailed]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return list(client.batch_score_credit(requests))

    decision, error = await asyncio.to_thread(work)
    assert isinstance(decision, credit_pb2.CreditDecision)
    assert decision.record_ref.request_id == requests[0].request_id
    assert isinstance(error, CallFailed)
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CUSTOMER_UNKNOWN")


def test_a_file_cannot_be_combined_with_a_single_customer() -> None:
    status, _, error = run_offline("score", "DE", "C1", "5EUR", "--from", "in.csv", "--to", "out.csv")

    assert status == 2
    assert "MARKET cannot be combined with --from" in error
    assert run_offline("score", "--from", "in.csv")[0] == 2
    assert run_offline("score", "DE")[0] == 2
