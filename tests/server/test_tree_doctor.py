"""The doctor holds what stands side by side of the tree against the records, on SQLite and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from server.maintenance.doctor import check_log
from server.stores.record_log.log import RecordLog
from server.stores.record_log.tiles import leaf_tile_problems, tile_problems
from server.stores.tables import TREE_BLOCKS, TREE_TWIGS
from tests.server.trees import SIZE, as_of_0008, grown


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log with twigs."""
    with grown(database_url, tmp_path) as found:
        yield found


def examined(log: RecordLog) -> tuple[bool, str]:
    """Ask the doctor: whether everything holds, and its last sentence."""
    holds, found = check_log(log.database, log.verifier, None)
    return holds, found[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hashes": bytes(32 * 510)}, "tile 1 of level 8 does not match its records"),
        ({"hashes": bytes(32)}, "tile 1 of level 8 does not match its records"),
        ({"node_index": 2}, "tile 2 of level 8 does not belong to this log"),
        ({"level": 7}, "tile 1 of level 7 does not belong to this log"),
    ],
)
def test_the_doctor_finds_a_block_that_is_not_that_of_the_records(
    log: RecordLog, change: dict[str, object], said: str
) -> None:
    as_of_0008(log)
    assert examined(log)[0]
    with log.database.writing() as connection:
        connection.execute(update(TREE_BLOCKS).where(TREE_BLOCKS.c.node_index == 1).values(**change))

    assert examined(log) == (False, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("tree_blocks SET level = 'low'", "tile 1 of level low does not belong to this log"),
        ("tree_blocks SET node_index = 0.5", "tile 0.5 of level 8 does not belong to this log"),
        (
            "tree_blocks SET level = 1 << 62",
            f"tile 1 of level {1 << 62} does not belong to this log",
        ),
        (
            "log_head SET size = 'many'",
            "the head of the record log: its size is not an integer",
        ),
    ],
)
def test_the_doctor_finds_what_is_no_number(log: RecordLog, change: str, said: str) -> None:
    as_of_0008(log)
    with log.database.writing() as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("PostgreSQL keeps nothing but numbers there")
        connection.exec_driver_sql(f"UPDATE {change}" + " WHERE node_index = 1" * change.startswith("tree"))

    assert examined(log) == (False, said)


def test_one_flipped_bit_of_a_block_is_found(log: RecordLog) -> None:
    as_of_0008(log)
    this = TREE_BLOCKS.c.node_index == 0
    with log.database.writing() as connection:
        held = connection.execute(select(TREE_BLOCKS.c.hashes).where(this)).scalar_one()
        for place in (0, 4321, 32 * 256 - 1, 32 * 256, 32 * 510 - 1):
            connection.execute(update(TREE_BLOCKS).where(this).values(hashes=flipped(held, place)))
            found = list(tile_problems(connection, SIZE))
            assert found == ["tile 0 of level 8 does not match its records"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hashes": bytes(32 * 34)}, "the leaf tile from record 496 on does not match its records"),
        ({"hashes": bytes(32)}, "the leaf tile from record 496 on does not match its records"),
        ({"hashes": b""}, "the leaf tile from record 496 on does not match its records"),
        ({"first_index": 512}, "the leaf tile from record 512 on does not belong to this log"),
        ({"first_index": 497}, "the leaf tile from record 497 on does not belong to this log"),
        (
            {"first_index": -(2**63)},
            f"the leaf tile from record {-(2**63)} on does not belong to this log",
        ),
        ({"first_index": -16}, "the leaf tile from record -16 on does not belong to this log"),
    ],
)
def test_the_doctor_finds_a_twig_that_is_not_that_of_the_records(
    log: RecordLog, change: dict[str, object], said: str
) -> None:
    assert examined(log)[0]
    with log.database.writing() as connection:
        connection.execute(update(TREE_TWIGS).where(TREE_TWIGS.c.first_index == 496).values(**change))

    assert examined(log) == (False, said)


@pytest.mark.parametrize("first", [0, 64, 80, 496])
def test_the_doctor_reads_every_page_of_twigs(log: RecordLog, first: int) -> None:
    with log.database.writing() as connection:
        before = list(leaf_tile_problems(connection, SIZE, 5))
        connection.execute(update(TREE_TWIGS).where(TREE_TWIGS.c.first_index == first).values(hashes=b""))
        found = list(leaf_tile_problems(connection, SIZE, 5))

    assert before == []
    assert found == [f"the leaf tile from record {first} on does not match its records"]


def test_one_flipped_bit_of_a_twig_is_found(log: RecordLog) -> None:
    this = TREE_TWIGS.c.first_index == 272
    with log.database.writing() as connection:
        held = connection.execute(select(TREE_TWIGS.c.hashes).where(this)).scalar_one()
        for place in (*range(0, 32 * 34, 32), 32 * 34 - 1):
            connection.execute(update(TREE_TWIGS).where(this).values(hashes=flipped(held, place)))
            found = list(leaf_tile_problems(connection, SIZE))
            assert found == ["the leaf tile from record 272 on does not match its records"]


def flipped(hashes: bytes, place: int) -> bytes:
    """Flip the lowest bit of one byte."""
    return bytes(each ^ (at == place) for at, each in enumerate(bytes(hashes)))
