"""Tiles of tree hashes on SQLite and PostgreSQL: the same proofs, from fewer pages."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, select, update

from grounds_record.merkle import (
    Frontier,
    Node,
    consistency_proof,
    covering_nodes,
    inclusion_proof,
    split_hashes,
    verify_consistency,
    verify_inclusion,
)
from server.errors import RecordDamaged
from server.maintenance.doctor import check_log
from server.stores.database import Database
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader, inclusion_from_hashes
from server.stores.record_log.tiles import write_tiles
from server.stores.record_log.tree_hashes import TreeHashCache, TreeHashReader
from server.stores.tables import LOG_HEAD, RECORDS, TREE_BLOCKS, TREE_TWIGS
from tests.server.record_logs import entry
from tests.server.stores.record_log.grown_logs import NODES, SIZE, downgrade_to_0008, grown_log

INSIDE = (
    RECORDS.c.record_index < 512,
    RECORDS.c.record_index % 256 != 255,
)  # all other records also have hashes above the leaf tiles
MANY = 65_536 + 300  # completes the first tile of level 16


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Yield a log with leaf tiles."""
    with grown_log(database_url, tmp_path) as found:
        yield found


def leaf_tiles(log: RecordLog) -> list[int]:
    """Return the first records of all leaf tiles."""
    with log.database.reading() as connection:
        return list(connection.execute(select(TREE_TWIGS.c.first_index).order_by(TREE_TWIGS.c.first_index)).scalars())


def proofs_of(log: RecordLog) -> list[tuple[bytes, ...]]:
    """Return inclusion proofs of records spread over the whole log, and consistency proofs of older trees."""
    proofs = ProofReader(log.database)
    with log.database.reading() as connection:
        names = connection.execute(select(RECORDS.c.record_id).order_by(RECORDS.c.record_index)).scalars().all()
    included = [proofs.prove_inclusion(names[place], SIZE)[1] for place in range(0, SIZE, 7)]
    return included + [proofs.prove_consistency(old, SIZE) for old in range(0, SIZE, 7)]


def test_proofs_are_equal_with_leaf_tiles_with_tiles_of_release_0008_and_without_tiles(log: RecordLog) -> None:
    with_leaf_tiles = proofs_of(log)
    assert leaf_tiles(log) == list(range(0, 512, 16))

    downgrade_to_0008(log)
    with_tiles = proofs_of(log)
    with log.database.writing() as connection:
        connection.execute(delete(TREE_BLOCKS))

    assert with_leaf_tiles == with_tiles == proofs_of(log)


@pytest.mark.parametrize("as_of", [lambda _: None, downgrade_to_0008], ids=["now", "0008"])
def test_hashes_in_tiles_are_not_read_from_records(log: RecordLog, as_of: Callable[[RecordLog], None]) -> None:
    before = proofs_of(log)
    as_of(log)

    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(*INSIDE).values(nodes=b""))

    assert proofs_of(log) == before


@pytest.mark.parametrize("hashes", [b"", bytes(32), bytes(32 * 34 - 1), bytes(32 * 35)])
def test_a_leaf_tile_of_wrong_length_is_ignored(log: RecordLog, hashes: bytes) -> None:
    before = proofs_of(log)
    with log.database.writing() as connection:
        connection.execute(update(TREE_TWIGS).values(hashes=hashes))

    assert proofs_of(log) == before


def test_a_log_of_release_0008_continues_with_leaf_tiles(log: RecordLog) -> None:
    downgrade_to_0008(log)
    log.append([entry() for _ in range(300)])
    proofs = ProofReader(log.database)
    head = proofs.read_head()
    now = Frontier(head.size, split_hashes(head.peaks))

    assert leaf_tiles(log) == list(range(512, 768, 16))
    with log.database.reading() as connection:
        leaves = [bytes(nodes[:32]) for nodes in connection.execute(NODES).scalars()]
    for place in range(0, head.size, 13):
        proof = inclusion_from_hashes(now, place, proofs.read_inclusion_hashes(place, now))
        assert proof is not None
        verify_inclusion(place, head.size, leaves[place], proof, now.root())
    assert check_log(log.database, log.verifier, None)[0]


def test_one_leaf_tile_proves_a_record(log: RecordLog) -> None:
    proofs = ProofReader(log.database)
    with log.database.reading() as connection:
        leaves = [bytes(nodes[:32]) for nodes in connection.execute(NODES).scalars()]
        now = Frontier(SIZE, split_hashes(bytes(connection.execute(select(LOG_HEAD.c.peaks)).scalar_one())))
    with log.database.writing() as connection:
        connection.execute(delete(TREE_TWIGS).where(TREE_TWIGS.c.first_index != 304))
        connection.execute(update(RECORDS).where(*INSIDE).values(nodes=b""))

    for place in range(304, 320):
        proof = inclusion_from_hashes(now, place, proofs.read_inclusion_hashes(place, now))
        assert proof is not None
        verify_inclusion(place, SIZE, leaves[place], proof, now.root())
    for place in (303, 320):
        with pytest.raises(RecordDamaged):
            proofs.read_inclusion_hashes(place, now)


@pytest.fixture
def large(database: Database) -> Iterator[tuple[Connection, list[bytes]]]:
    """Yield the leaf hashes and a connection to a log of hashes, whose tiles were written in several steps."""
    leaves = [hashlib.sha256(b"\x00%d" % place).digest() for place in range(MANY)]
    frontier, rows = Frontier(), []
    for place, leaf in enumerate(leaves):
        frontier, nodes = frontier.append(leaf)
        named = {"record_index": place, "record_id": str(place), "nodes": b"".join(nodes)}
        rows.append({**named, "kind": "", "time_us": 0, "caller": "", "key_id": "", "header": b"", "ciphertext": b""})
    with database.writing() as connection:
        connection.execute(RECORDS.insert(), rows)
        for before, after in ((0, 1000), (1000, 65_535), (65_535, 65_536), (65_536, MANY)):
            write_tiles(connection, before, after)
        yield connection, leaves


def test_a_large_log_is_proved_from_leaf_tiles_and_a_tile(large: tuple[Connection, list[bytes]]) -> None:
    connection, leaves = large
    assert [(row.level, row.node_index) for row in connection.execute(select(TREE_BLOCKS))] == [(16, 0)]
    assert connection.execute(select(func.count()).select_from(TREE_TWIGS)).scalar_one() == MANY // 256 * 16
    connection.execute(update(RECORDS).where(RECORDS.c.record_index < 65_535).values(nodes=b""))
    read, roots = TreeHashReader(connection), {}

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
    cache, frontier = TreeHashCache(), Frontier()
    for leaf in leaves:
        frontier, _ = frontier.append(leaf)
    peaks = dict(zip(covering_nodes(0, MANY), frontier.peaks, strict=True))
    first = inclusion_proof(5, MANY, TreeHashReader(connection, cache, peaks))
    verify_inclusion(5, MANY, leaves[5], first, frontier.root())

    # Delete the tile, all hashes of records, and all leaf tiles but one.
    place = 100 * 256 + 7
    connection.execute(delete(TREE_BLOCKS))
    connection.execute(delete(TREE_TWIGS).where(TREE_TWIGS.c.first_index != 100 * 256))
    connection.execute(update(RECORDS).values(nodes=b""))

    proof = inclusion_proof(place, MANY, TreeHashReader(connection, cache, peaks))
    verify_inclusion(place, MANY, leaves[place], proof, frontier.root())
    with pytest.raises(RecordDamaged):
        inclusion_proof(place, MANY, TreeHashReader(connection, TreeHashCache(), peaks))


def test_the_cache_has_a_limit() -> None:
    cache = TreeHashCache(limit=3)

    for index in range(20):
        cache.add({Node(16, index): b"1", Node(8, index): b"2"}, {Node(7, index): b"3"})
        assert Node(16, index) in cache.tiles
        assert len(cache.tiles) <= 4

    assert not any(node.level == 8 for node in cache.tiles)
    assert cache.hashes == {}

    for index in range(1000):
        cache.add({}, {Node(8, index): b"3"})
        assert Node(8, index) in cache.hashes
        assert len(cache.hashes) <= 301
