"""`MarketPull` is killed at every write while runs are loaded.

The copy always has a single run and each customer once.
"""

import asyncio
import itertools
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounds_client import Client
from grounds_client.pull import MarketPull, PullRefused, PullResult
from grounds_client.pull.table import COPY_SCHEMA, CUSTOMER_SCHEMA, _customer_row, _preferred_locales
from models.reasons import choose_locale
from server.load import runs
from server.stores.clock import utc_now
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
KILLER.set_forkserver_preload(["tests.client.pull.test_market_pull"])
KILLED = 9
ODDS = (-3.0, -1.0, 0.5, 3.0)


@pytest.fixture(scope="session")
def churn_family(tmp_path_factory: pytest.TempPathFactory) -> ChurnFamily:
    """Train a small churn family once. All tests share it, so a test must not change its files."""
    return write_churn_family(tmp_path_factory.mktemp("churn"))


def customers(seed: int, count: int = 45) -> dict[str, float | None]:
    """Return the log-odds by customer. The seed determines which customers exist and which log-odds differ."""
    return {
        f"C{number:03d}": None if number % 11 == 0 else ODDS[number % 4 if number % 3 else (number + seed) % 4]
        for number in range(count)
        if (number + seed) % 5
    }


def load(serving: Serving, churn: ChurnFamily, folder: Path, seed: int) -> None:
    """Load the run of a seed, in batches of ten."""
    as_of = (FIRST, SECOND, THIRD)[seed]
    path = write_run(folder / f"run-{seed}.parquet", churn.model, plain_rows(churn.model, customers(seed), as_of))
    usual, runs.BATCH_ROWS = runs.BATCH_ROWS, 10
    try:
        load_file(serving.application.database, path, utc_now())
    finally:
        runs.BATCH_ROWS = usual


async def pull(serving: Serving, to: Path, market: str = "DE", locale: str = "") -> tuple[PullResult, list[str]]:
    """Pull as the command does; return the result and the progress lines."""
    lines: list[str] = []

    def run() -> PullResult:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return MarketPull(client, to, state_path(to), lines.append).run(market, locale)

    return await asyncio.to_thread(run), lines


def state_path(to: Path) -> Path:
    """Return the default state file of a copy."""
    return to.with_name(to.name + ".state.json")


def exit_at(moment: int) -> None:
    """End this process without any clean-up, as kill -9 does, at a moment that is counted from now on.

    Each replaced file (a part, the state, the copy) has two moments: just before its rename and just after its rename.
    Python reports two events to audit hooks: the rename, and then the opening of the folder, which is flushed to disk.
    """
    moments, renamed = itertools.count(1), False

    def count_moments(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal renamed
        after_rename = event == "open" and renamed and arguments[1] is None  # os.open has no mode, but open has one
        if event == "os.rename" or after_rename:
            renamed = not after_rename
            if next(moments) == moment:
                os._exit(KILLED)

    sys.addaudithook(count_moments)


def pull_until(address: str, to: Path, moment: int) -> None:
    """Pull with pages of ten customers, and end this process at a moment."""
    exit_at(moment)
    with Client(address) as client:
        MarketPull(client, to, state_path(to), lambda _: None, page_size=10).run("DE", "")


async def kill_pull(serving: Serving, to: Path, moment: int) -> int:
    """Pull in a new process that is killed; return its exit status, which is 0 if the pull ended before the moment."""
    process = KILLER.Process(target=pull_until, args=(f"127.0.0.1:{serving.application.port}", to, moment))
    process.start()
    await asyncio.to_thread(process.join)
    return int(process.exitcode or 0)


async def read_server(serving: Serving, locale: str = "") -> list[dict[str, Any]]:
    """Return the rows of the newest run, built from the server's messages."""

    def ask() -> list[dict[str, Any]]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            found = client.list_churn_risk_changes("DE", locale=locale).churn_risks
            ranks = {risk.customer.customer_id: risk.rank if risk.HasField("rank") else None for risk in found}
            runs = {"run_id": found[0].run_id, "bundle_id": found[0].bundle_id, "market": "DE"}
            rows = [dict.fromkeys(CUSTOMER_SCHEMA.names) | _customer_row(risk) for risk in found]
            return [{**row, **runs, "rank": ranks[row["customer_id"]]} for row in rows]

    return await asyncio.to_thread(ask)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return a copy as rows with times in microseconds, without the run columns, which a prediction does not have."""
    rows = pq.read_table(path).cast(COPY_SCHEMA).to_pylist()
    for row in rows:
        since = row["band_since_time"]
        row["band_since_time"] = None if since is None else int(since.timestamp()) * 10**6
        for name in ("as_of_time", "valid_until_time", "currency_code"):
            del row[name]
    return rows


async def test_a_pull_killed_at_any_write_resumes_to_the_newest_run(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    """Each pull starts without a copy and is killed one moment later than the pull before; then it is resumed."""
    load(serving, churn_family, tmp_path, 0)
    for moment in itertools.count(1):
        to = tmp_path / str(moment) / "risks.parquet"
        status = await kill_pull(serving, to, moment)
        if moment == 4:
            load(serving, churn_family, tmp_path, 1)
        if status != KILLED:
            break
        await pull(serving, to)

        assert read_rows(to) == await read_server(serving)
    assert moment > 20


async def test_a_pull_killed_repeatedly_advances_and_shows_one_run_at_a_time(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    to = tmp_path / "risks.parquet"
    load(serving, churn_family, tmp_path, 0)
    statuses = []
    for seed in (1, 2, None):
        for moment in (3, 4, 7, 5, 6, 3):
            statuses.append(await kill_pull(serving, to, moment))
            if to.exists():
                table = pq.read_table(to)
                ids = table["customer_id"].to_pylist()
                assert (ids, len(set(table["run_id"].to_pylist()))) == (sorted(set(ids)), 1)
        if seed:
            load(serving, churn_family, tmp_path, seed)
    done, _ = await pull(serving, to)

    assert statuses.count(KILLED) >= 10
    assert read_rows(to) == await read_server(serving)
    assert done.customers == len(customers(2))


@pytest.mark.parametrize("kind", [".parquet", ".csv"])
async def test_a_copy_updated_by_deltas_equals_the_copy_of_a_full_sync_byte_for_byte(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, kind: str
) -> None:
    followed = tmp_path / f"followed{kind}"
    for seed in range(3):
        load(serving, churn_family, tmp_path, seed)
        done, _ = await pull(serving, followed)
        await pull(serving, fresh := tmp_path / f"fresh-{seed}{kind}")

        assert followed.read_bytes() == fresh.read_bytes()
    assert done.changed > 0
    assert done.removed > 0


async def test_the_copy_equals_the_pages_in_the_requested_language(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    rows = scored_rows(churn_family.model, churn_family.customers.head(200), FIRST)
    load_file(serving.application.database, write_run(tmp_path / "run.parquet", churn_family.model, rows), utc_now())
    for locale in ("", "de", "de-AT", "fr", "zh-TW", "en-GB"):
        await pull(serving, to := tmp_path / f"risks-{locale}.parquet", locale=locale)

        assert read_rows(to) == await read_server(serving, locale)
    assert any(row["driver_2"] for row in read_rows(to))


@given(
    offered=st.sets(st.sampled_from(["de", "de-AT", "fr", "pt-BR", "zh-Hant", "zh", "sr-Latn"])),
    locale=st.sampled_from(
        ["", "de", "de-AT", "de-CH-1996", "zh-TW", "zh-Hant-HK", "zh", "sr-Latn-RS", "pt", "ja", "*"]
    ),
    market=st.sampled_from(["DE", "AT", "TW", "BR", "RS", "US", "ZZ"]),
)
def test_the_copy_prefers_the_languages_that_the_server_prefers(offered: set[str], locale: str, market: str) -> None:
    offered |= {"en"}

    assert next(each for each in _preferred_locales(locale, market) if each in offered) == choose_locale(
        offered, locale, market
    )


async def test_an_erased_customer_is_removed_from_the_copy(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pull(serving, to := tmp_path / "risks.parquet")
    with serving.application.database.writing() as connection:
        erase_predictions(connection, "DE", "C001", utc_now())

    done, _ = await pull(serving, to)

    assert "C001" in customers(0)
    assert done.removed == 1
    assert "C001" not in pq.read_table(to)["customer_id"].to_pylist()


async def test_a_pruned_run_leads_to_a_full_sync(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pull(serving, to := tmp_path / "risks.parquet")
    load(serving, churn_family, tmp_path, 1)
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET state = 'PRUNING' WHERE run_number = 1")

    _, lines = await pull(serving, to)

    assert any("requires a full sync" in line for line in lines)
    assert read_rows(to) == await read_server(serving)


async def change_copy(to: Path) -> None:
    """Change the copy between two pulls."""
    pq.write_table(pq.read_table(to).slice(1), to)


@pytest.mark.parametrize("damage", ["file changed", "file gone", "other language"])
async def test_a_copy_that_cannot_be_updated_is_replaced_by_a_full_sync(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, damage: str
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pull(serving, to := tmp_path / "risks.parquet")
    if damage == "file changed":
        await change_copy(to)
    elif damage == "file gone":
        to.unlink()

    _, lines = await pull(serving, to, locale="de" if damage == "other language" else "")

    assert any("starting a full sync" in line for line in lines)
    assert read_rows(to) == await read_server(serving)


async def test_a_state_of_another_market_or_a_malformed_state_is_rejected_and_the_copy_stays(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, 0)
    await pull(serving, to := tmp_path / "risks.parquet")
    before = to.read_bytes()
    with pytest.raises(PullRefused, match="belongs to market DE; for FR, use a different file with --to or --state"):
        await pull(serving, to, market="FR")
    (tmp_path / "risks.parquet.state.json").write_text("[]")
    with pytest.raises(PullRefused, match="is not the state of a pull"):
        await pull(serving, to)

    assert to.read_bytes() == before
