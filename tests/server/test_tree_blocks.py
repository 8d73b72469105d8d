"""Hashes of the tree kept side by side, on SQLite and on a real PostgreSQL: the same proofs, from fewer places."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, select, update

from record.merkle import (
    Frontier,
    Node,
    consistency_proof,
    cover,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from server.doctor import examine
from server.errors import RecordDamaged
from server.stores.database import Database
from server.stores.nodes import NodesOf, Upper, keep_blocks
from server.stores.proofs import Proofs
from server.stores.records import RecordLog
from server.stores.tables import RECORDS, TREE_BLOCKS
from tests.server.logs import entry, opened

SIZE = 600  # two blocks and a rest
MANY = 65_536 + 300  # the first block of the second level, and a rest


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log that grew past two blocks, once within a batch and once at its end."""
    with opened(database_url, tmp_path) as found:
        for size in (250, 262, SIZE - 512):
            found.append([entry() for _ in range(size)])
        yield found


def blocks(log: RecordLog) -> list[tuple[int, int]]:
    """Say which blocks there are."""
    with log.database.reading() as connection:
        wanted = select(TREE_BLOCKS.c.level, TREE_BLOCKS.c.node_index).order_by(TREE_BLOCKS.c.node_index)
        return [(row.level, row.node_index) for row in connection.execute(wanted)]


def proofs_of(log: RecordLog) -> list[tuple[bytes, ...]]:
    """Give proofs of records all over the log, and of older trees."""
    proofs = Proofs(log.database)
    with log.database.reading() as connection:
        names = connection.execute(select(RECORDS.c.record_id).order_by(RECORDS.c.record_index)).scalars().all()
    included = [proofs.inclusion(names[place], SIZE)[1] for place in range(0, SIZE, 7)]
    return included + [proofs.consistency(old, SIZE) for old in range(0, SIZE, 7)]


def test_proofs_are_the_same_with_blocks_and_without(log: RecordLog) -> None:
    with_blocks = proofs_of(log)
    assert blocks(log) == [(8, 0), (8, 1)]

    with log.database.writing() as connection:
        connection.execute(delete(TREE_BLOCKS))

    assert proofs_of(log) == with_blocks


def test_what_blocks_hold_is_not_read_from_records(log: RecordLog) -> None:
    before = proofs_of(log)
    inside = (RECORDS.c.record_index < 512, RECORDS.c.record_index % 256 != 255)  # those complete what is above a block

    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(*inside).values(nodes=b""))

    assert proofs_of(log) == before


@pytest.fixture
def large(database: Database) -> Iterator[tuple[Connection, list[bytes]]]:
    """Give a table whose records have hashes and nothing else, its blocks made in steps; and the leaf hashes."""
    leaves = [hashlib.sha256(b"\x00%d" % place).digest() for place in range(MANY)]
    frontier, rows = Frontier(), []
    for place, leaf in enumerate(leaves):
        frontier, nodes = frontier.append(leaf)
        named = {"record_index": place, "record_id": str(place), "nodes": b"".join(nodes)}
        rows.append({**named, "kind": "", "time_us": 0, "caller": "", "key_id": "", "header": b"", "ciphertext": b""})
    with database.writing() as connection:
        connection.execute(RECORDS.insert(), rows)
        for before, after in ((0, 1000), (1000, 65_535), (65_535, 65_536), (65_536, MANY)):
            keep_blocks(connection, before, after)
        yield connection, leaves


def test_a_log_of_tens_of_thousands_proves_by_a_block_of_each_level(large: tuple[Connection, list[bytes]]) -> None:
    connection, leaves = large
    by_level = select(TREE_BLOCKS.c.level, func.count()).group_by(TREE_BLOCKS.c.level).order_by(TREE_BLOCKS.c.level)
    assert [tuple(row) for row in connection.execute(by_level)] == [(8, MANY // 256), (16, 1)]
    connection.execute(update(RECORDS).where(RECORDS.c.record_index < 65_535).values(nodes=b""))
    read, roots = NodesOf(connection), {}

    def root(size: int) -> bytes:
        frontier = Frontier()
        for leaf in leaves[:size]:
            frontier, _ = frontier.append(leaf)
        return roots.setdefault(size, frontier.root())

    whole = root(MANY)
    for place in range(0, MANY, 1009):
        verify_inclusion(place, MANY, leaves[place], inclusion_proof(place, MANY, read), whole)
    for old in (1, 255, 256, 40_000, 65_535, 65_536, MANY):
        verify_consistency(old, MANY, root(old), whole, consistency_proof(old, MANY, read))


def test_the_upper_part_of_the_tree_is_read_once(large: tuple[Connection, list[bytes]]) -> None:
    connection, leaves = large
    upper, frontier = Upper(), Frontier()
    for leaf in leaves:
        frontier, _ = frontier.append(leaf)
    peaks = dict(zip(cover(0, MANY), frontier.peaks, strict=True))
    first = inclusion_proof(5, MANY, NodesOf(connection, upper, peaks))
    verify_inclusion(5, MANY, leaves[5], first, frontier.root())

    # Gone are the block of the second level, every record's hashes, and all blocks of the first level but one.
    connection.execute(delete(TREE_BLOCKS).where((TREE_BLOCKS.c.level == 16) | (TREE_BLOCKS.c.node_index != 100)))
    connection.execute(update(RECORDS).values(nodes=b""))

    place = 100 * 256 + 7
    proof = inclusion_proof(place, MANY, NodesOf(connection, upper, peaks))
    verify_inclusion(place, MANY, leaves[place], proof, frontier.root())
    with pytest.raises(RecordDamaged):
        inclusion_proof(place, MANY, NodesOf(connection, Upper(), peaks))


def test_the_upper_part_that_is_kept_has_a_limit() -> None:
    upper = Upper(limit=3)

    for index in range(20):
        upper.keep({Node(16, index): b"1", Node(8, index): b"2"}, {Node(15, index): b"3"})
        assert Node(16, index) in upper.blocks
        assert len(upper.blocks) <= 4

    assert not any(node.level == 8 for node in upper.blocks)
    assert upper.hashes == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hashes": bytes(32 * 510)}, "block 1 of level 8 of the tree's hashes is not that of its records"),
        ({"hashes": bytes(32)}, "block 1 of level 8 of the tree's hashes is not that of its records"),
        ({"node_index": 2}, "block 2 of level 8 of the tree's hashes does not belong to this log"),
        ({"level": 7}, "block 1 of level 7 of the tree's hashes does not belong to this log"),
    ],
)
def test_the_doctor_finds_a_block_that_is_not_that_of_the_records(
    log: RecordLog, change: dict[str, object], said: str
) -> None:
    assert examine(log.database, log.verifier, None)[0]
    with log.database.writing() as connection:
        connection.execute(update(TREE_BLOCKS).where(TREE_BLOCKS.c.node_index == 1).values(**change))

    holds, found = examine(log.database, log.verifier, None)

    assert not holds
    assert found[-1] == said


@pytest.mark.parametrize("place", [0, 4321, 32 * 256 - 1, 32 * 256, 32 * 510 - 1])
def test_one_flipped_bit_of_a_block_is_found(log: RecordLog, place: int) -> None:
    with log.database.reading() as connection:
        hashes = bytearray(connection.execute(select(TREE_BLOCKS.c.hashes)).scalars().first() or b"")
    hashes[place] ^= 1
    with log.database.writing() as connection:
        connection.execute(update(TREE_BLOCKS).where(TREE_BLOCKS.c.node_index == 0).values(hashes=bytes(hashes)))

    assert not examine(log.database, log.verifier, None)[0]
