"""The puller killed at every page while new runs land: nobody is missing, nobody is twice, the file is one run's."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grounds_client import churn_calls, pull
from grounds_client.calls import Client
from grounds_client.errors import PullRefused
from grounds_client.pull import Pull, Pulled
from grounds_client.pull_table import FILE, OWN, applied, read_file, row_of, write_file
from server.application import utc_now
from server.load import runs
from server.stores.runs.erasure import erase_predictions
from tests.conftest import Serving
from tests.server.churn_runs import (
    FIRST,
    SECOND,
    THIRD,
    ChurnFamily,
    plain_rows,
    scored_rows,
    write_churn_family,
    write_run,
)
from tests.server.loading import load_file

KILLER = multiprocessing.get_context("forkserver")
KILLER.set_forkserver_preload(["tests.client.test_pull"])
KILLED = 9
ODDS = (-3.0, -1.0, 0.5, 3.0)


@pytest.fixture(scope="session")
def churn_family(tmp_path_factory: pytest.TempPathFactory) -> ChurnFamily:
    """Train a small churn family, once. Read only."""
    return write_churn_family(tmp_path_factory.mktemp("churn"))


def customers(seed: int, count: int = 45) -> dict[str, float | None]:
    """Make customers: some change with the seed, some come and go, some stay."""
    return {
        f"C{number:03d}": None if number % 11 == 0 else ODDS[number % 4 if number % 3 else (number + seed) % 4]
        for number in range(count)
        if (number + seed) % 5
    }


def load(serving: Serving, churn: ChurnFamily, folder: Path, seed: int) -> None:
    """Load the run of a seed, in parts of ten."""
    as_of = (FIRST, SECOND, THIRD)[seed]
    path = write_run(folder / f"run-{seed}.parquet", churn.model, plain_rows(churn.model, customers(seed), as_of))
    usual, runs.BATCH_ROWS = runs.BATCH_ROWS, 10
    try:
        load_file(serving.application.database, path, utc_now())
    finally:
        runs.BATCH_ROWS = usual


async def pulled(serving: Serving, to: Path, market: str = "DE", locale: str = "") -> tuple[Pulled, list[str]]:
    """Pull as the command does; gives what it came to and what it said."""
    said: list[str] = []

    def ask() -> Pulled:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return Pull(client, to, to.with_name(to.name + ".state.json"), said.append).run(market, locale)

    return await asyncio.to_thread(ask), said


def pull_and_die(address: str, to: Path, moment: int) -> None:
    """Pull in a process of its own, and stop dead at some moment; pages are of ten.

    Moments are counted over everything that the puller writes down (a part, the state, the file): one when
    it is written under its other name, one when it has its own.
    """
    churn_calls.PAGE_SIZE = 10
    passed, writes = itertools.count(1), pull.replaced

    def pass_moment() -> None:
        if next(passed) == moment:
            os._exit(KILLED)  # as kill -9: nothing is tidied up

    @contextlib.contextmanager
    def replaced(path: Path) -> Iterator[Path]:
        with writes(path) as new:
            yield new
            pass_moment()
        pass_moment()

    pull.replaced = replaced
    with Client(address) as client:
        Pull(client, to, to.with_name(to.name + ".state.json"), lambda _: None).run("DE", "")


async def killed(serving: Serving, to: Path, moment: int) -> int:
    """Pull and be killed; gives the exit status: KILLED, or 0 where it came to its end before."""
    process = KILLER.Process(target=pull_and_die, args=(f"127.0.0.1:{serving.application.port}", to, moment))
    process.start()
    await asyncio.to_thread(process.join)
    return int(process.exitcode or 0)


async def truth(serving: Serving, locale: str = "") -> list[dict[str, Any]]:
    """Read everybody of the newest run by pages, straight from the contract's messages."""

    def ask() -> list[dict[str, Any]]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            found = client.list_churn_risk_changes("DE", locale=locale).churn_risks
            ranks = {risk.customer.customer_id: risk.rank if risk.HasField("rank") else None for risk in found}
            runs = {"run_id": found[0].run_id, "bundle_id": found[0].bundle_id, "market": "DE"}
            rows = [dict.fromkeys(OWN.names) | row_of(risk) for risk in found]
            return [{**row, **runs, "rank": ranks[row["customer_id"]]} for row in rows]

    return await asyncio.to_thread(ask)


def of_file(path: Path) -> list[dict[str, Any]]:
    """Read a Parquet file as rows, times in microseconds, without the columns that the test does not know."""
    rows = pq.read_table(path).cast(FILE).to_pylist()
    for row in rows:
        since = row["band_since_time"]
        row["band_since_time"] = None if since is None else int(since.timestamp()) * 10**6
        for name in ("as_of_time", "valid_until_time", "currency_code"):
            del row[name]
    return rows


async def test_a_puller_killed_wherever_it_writes_while_new_runs_land_ends_with_the_newest_run_whole(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    """A fresh pull is killed at its first moment, another at its second, and so on to the last; each goes on and on."""
    load(serving, churn_family, tmp_path, 0)
    for moment in itertools.count(1):
        to = tmp_path / str(moment) / "risks.parquet"
        status = await killed(serving, to, moment)
        if moment == 4:
            load(serving, churn_family, tmp_path, 1)
        if status != KILLED:
            break
        await pulled(serving, to)

        assert of_file(to) == await truth(serving)
    assert moment > 20


async def test_a_puller_killed_again_and_again_moves_on_and_shows_one_run_at_a_time(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    to = tmp_path / "risks.parquet"
    load(serving, churn_family, tmp_path, 0)
    statuses = []
    for seed in (1, 2, None):
        for moment in (3, 4, 7, 5, 6, 3):
            statuses.append(await killed(serving, to, moment))
            if to.exists():
                table = pq.read_table(to)
                ids = table["customer_id"].to_pylist()
                assert (ids, len(set(table["run_id"].to_pylist()))) == (sorted(set(ids)), 1)
        if seed:
            load(serving, churn_family, tmp_path, seed)
    done, _ = await pulled(serving, to)

    assert statuses.count(KILLED) >= 10
    assert of_file(to) == await truth(serving)
    assert done.customers == len(customers(2))


@pytest.mark.parametrize("kind", [".parquet", ".csv"])
async def test_a_file_that_follows_deltas_is_the_file_of_a_full_sync_byte_for_byte(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, kind: str
) -> None:
    followed = tmp_path / f"followed{kind}"
    for seed in range(3):
        load(serving, churn_family, tmp_path, seed)
        done, _ = await pulled(serving, followed)
        await pulled(serving, fresh := tmp_path / f"fresh-{seed}{kind}")

        assert followed.read_bytes() == fresh.read_bytes()
    assert done.changed > 0
    assert done.removed > 0


async def test_the_file_says_what_the_pages_say_in_the_language_asked_for(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    rows = scored_rows(churn_family.model, churn_family.customers.head(200), FIRST)
    load_file(serving.application.database, write_run(tmp_path / "run.parquet", churn_family.model, rows), utc_now())
    for locale in ("", "de", "de-AT", "fr"):
        await pulled(serving, to := tmp_path / f"risks-{locale}.parquet", locale=locale)

        assert of_file(to) == await truth(serving, locale)
    assert any(row["driver_2"] for row in of_file(to))


async def test_an_erased_customer_leaves_the_file(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pulled(serving, to := tmp_path / "risks.parquet")
    with serving.application.database.writing() as connection:
        erase_predictions(connection, "DE", "C001", utc_now())

    done, _ = await pulled(serving, to)

    assert "C001" in customers(0)
    assert done.removed == 1
    assert "C001" not in pq.read_table(to)["customer_id"].to_pylist()


async def test_a_run_that_is_no_longer_kept_is_no_dead_end(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pulled(serving, to := tmp_path / "risks.parquet")
    load(serving, churn_family, tmp_path, 1)
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET state = 'PRUNING' WHERE run_number = 1")

    _, said = await pulled(serving, to)

    assert any("begin anew" in line for line in said)
    assert of_file(to) == await truth(serving)


async def damaged(to: Path) -> None:
    """Change the file behind the puller's back."""
    pq.write_table(pq.read_table(to).slice(1), to)


@pytest.mark.parametrize("damage", ["file changed", "file gone", "other language"])
async def test_a_file_that_is_not_what_was_written_is_made_anew(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, damage: str
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pulled(serving, to := tmp_path / "risks.parquet")
    if damage == "file changed":
        await damaged(to)
    elif damage == "file gone":
        to.unlink()

    _, said = await pulled(serving, to, locale="de" if damage == "other language" else "")

    assert any("a full sync is made" in line for line in said)
    assert of_file(to) == await truth(serving)


async def test_a_state_of_another_market_or_none_at_all_is_refused_and_the_file_stays(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pulled(serving, to := tmp_path / "risks.parquet")
    before = to.read_bytes()
    with pytest.raises(PullRefused, match="is of market DE; take another --to or --state for FR"):
        await pulled(serving, to, market="FR")
    (tmp_path / "risks.parquet.state.json").write_text("[]")
    with pytest.raises(PullRefused, match="is no state of a pull"):
        await pulled(serving, to)

    assert to.read_bytes() == before


def test_awkward_values_survive_both_kinds_of_file(tmp_path: Path) -> None:
    row: dict[str, Any] = dict.fromkeys(OWN.names)
    row |= {"customer_id": "A", "status": "SCORED", "hold_out": True, "action_allowed": False, "suppressions": ""}
    row |= {"churn_probability": 0.1 + 0.2, "log_odds": 5e-324, "driver_1": 'a "b",\nc; =1+1', "band_since_time": 1}
    other = {**dict.fromkeys(OWN.names), "customer_id": "B", "value_at_risk_minor": 2**62, "driver_1": ""}
    table = OWN.with_metadata({"removed": "[]"})
    part = pa.Table.from_pylist([row, other], schema=table)
    for kind in (".csv", ".parquet"):
        write_file(tmp_path / f"file{kind}", kind, applied(OWN.empty_table(), [part]))

        assert read_file(tmp_path / f"file{kind}", kind).to_pylist() == part.to_pylist()
