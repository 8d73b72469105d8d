"""`doctor` checks tiles against the records, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from server.maintenance.doctor import check_log
from server.stores.record_log.log import RecordLog
from server.stores.record_log.tiles import leaf_tile_problems, tile_problems
from server.stores.tables import TREE_BLOCKS, TREE_TWIGS
from tests.server.stores.record_log.grown_logs import SIZE, downgrade_to_0008, grown_log


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Yield a log with leaf tiles."""
    with grown_log(database_url, tmp_path) as found:
        yield found


def check(log: RecordLog) -> tuple[bool, str]:
    """Return whether `doctor` finds the log valid, and the last sentence of its report."""
    holds, found = check_log(log.database, log.verifier, None)
    return holds, found[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hashes": bytes(32 * 510)}, "tile 1 of level 8 does not match its records"),
        ({"hashes": bytes(32)}, "tile 1 of level 8 does not match its records"),
        ({"node_index": 2}, "tile 2 of level 8 does not belong to this log"),
        ({"level": 7}, "tile 1 of level 7 does not belong to this log"),
    ],
)
def test_a_tile_that_does_not_match_its_records_is_reported(
    log: RecordLog, change: dict[str, object], message: str
) -> None:
    downgrade_to_0008(log)
    assert check(log)[0]
    with log.database.writing() as connection:
        connection.execute(update(TREE_BLOCKS).where(TREE_BLOCKS.c.node_index == 1).values(**change))

    assert check(log) == (False, message)


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_a_value_that_is_not_an_integer_is_reported(log: RecordLog, change: str, message: str) -> None:
    downgrade_to_0008(log)
    with log.database.writing() as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("PostgreSQL stores only integers there")
        connection.exec_driver_sql(f"UPDATE {change}" + " WHERE node_index = 1" * change.startswith("tree"))

    assert check(log) == (False, message)


def test_one_flipped_bit_of_a_tile_is_reported(log: RecordLog) -> None:
    downgrade_to_0008(log)
    this = TREE_BLOCKS.c.node_index == 0
    with log.database.writing() as connection:
        hashes = connection.execute(select(TREE_BLOCKS.c.hashes).where(this)).scalar_one()
        for place in (0, 4321, 32 * 256 - 1, 32 * 256, 32 * 510 - 1):
            connection.execute(update(TREE_BLOCKS).where(this).values(hashes=flip_hash(hashes, place)))
            found = list(tile_problems(connection, SIZE))
            assert found == ["tile 0 of level 8 does not match its records"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hashes": bytes(32 * 34)}, "the leaf tile of record 496 does not match its records"),
        ({"hashes": bytes(32)}, "the leaf tile of record 496 does not match its records"),
        ({"hashes": b""}, "the leaf tile of record 496 does not match its records"),
        ({"first_index": 512}, "the leaf tile of record 512 does not belong to this log"),
        ({"first_index": 497}, "the leaf tile of record 497 does not belong to this log"),
        (
            {"first_index": -(2**63)},
            f"the leaf tile of record {-(2**63)} does not belong to this log",
        ),
        ({"first_index": -16}, "the leaf tile of record -16 does not belong to this log"),
    ],
)
def test_a_leaf_tile_that_does_not_match_its_records_is_reported(
    log: RecordLog, change: dict[str, object], message: str
) -> None:
    assert check(log)[0]
    with log.database.writing() as connection:
        connection.execute(update(TREE_TWIGS).where(TREE_TWIGS.c.first_index == 496).values(**change))

    assert check(log) == (False, message)


@pytest.mark.parametrize("first", [0, 64, 80, 496])
def test_every_page_of_leaf_tiles_is_checked(log: RecordLog, first: int) -> None:
    with log.database.writing() as connection:
        before = list(leaf_tile_problems(connection, SIZE, 5))
        connection.execute(update(TREE_TWIGS).where(TREE_TWIGS.c.first_index == first).values(hashes=b""))
        found = list(leaf_tile_problems(connection, SIZE, 5))

    assert before == []
    assert found == [f"the leaf tile of record {first} does not match its records"]


def test_one_flipped_bit_of_a_leaf_tile_is_reported(log: RecordLog) -> None:
    this = TREE_TWIGS.c.first_index == 272
    with log.database.writing() as connection:
        hashes = connection.execute(select(TREE_TWIGS.c.hashes).where(this)).scalar_one()
        for place in (*range(0, 32 * 34, 32), 32 * 34 - 1):
            connection.execute(update(TREE_TWIGS).where(this).values(hashes=flip_hash(hashes, place)))
            found = list(leaf_tile_problems(connection, SIZE))
            assert found == ["the leaf tile of record 272 does not match its records"]


def flip_hash(hashes: bytes, place: int) -> bytes:
    """Flip the lowest bit of one byte."""
    return bytes(each ^ (at == place) for at, each in enumerate(bytes(hashes)))
