"""Hashes of the tree kept side by side, on SQLite and on a real PostgreSQL: the same proofs, from fewer places."""

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
    verify_consistency,
    verify_inclusion,
)
from server.errors import RecordDamaged
from server.maintenance.doctor import check_log
from server.stores.database import Database
from server.stores.record_log.entries import split_hashes
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader, inclusion_from_hashes
from server.stores.record_log.tiles import write_tiles
from server.stores.record_log.tree_hashes import TreeHashCache, TreeHashReader
from server.stores.tables import LOG_HEAD, RECORDS, TREE_BLOCKS, TREE_TWIGS
from tests.server.record_logs import entry
from tests.server.trees import NODES, SIZE, as_of_0008, grown

INSIDE = (RECORDS.c.record_index < 512, RECORDS.c.record_index % 256 != 255)  # the others have what is above twigs too
MANY = 65_536 + 300  # the first block of the second level, and a rest


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log with twigs."""
    with grown(database_url, tmp_path) as found:
        yield found


def twigs(log: RecordLog) -> list[int]:
    """Say which twigs there are."""
    with log.database.reading() as connection:
        return list(connection.execute(select(TREE_TWIGS.c.first_index).order_by(TREE_TWIGS.c.first_index)).scalars())


def proofs_of(log: RecordLog) -> list[tuple[bytes, ...]]:
    """Give proofs of records all over the log, and of older trees."""
    proofs = ProofReader(log.database)
    with log.database.reading() as connection:
        names = connection.execute(select(RECORDS.c.record_id).order_by(RECORDS.c.record_index)).scalars().all()
    included = [proofs.prove_inclusion(names[place], SIZE)[1] for place in range(0, SIZE, 7)]
    return included + [proofs.prove_consistency(old, SIZE) for old in range(0, SIZE, 7)]


def test_proofs_are_the_same_with_twigs_with_an_older_releases_blocks_and_with_neither(log: RecordLog) -> None:
    with_twigs = proofs_of(log)
    assert twigs(log) == list(range(0, 512, 16))

    as_of_0008(log)
    with_blocks = proofs_of(log)
    with log.database.writing() as connection:
        connection.execute(delete(TREE_BLOCKS))

    assert with_twigs == with_blocks == proofs_of(log)


@pytest.mark.parametrize("as_of", [lambda _: None, as_of_0008], ids=["now", "0008"])
def test_what_stands_side_by_side_is_not_read_from_records(log: RecordLog, as_of: Callable[[RecordLog], None]) -> None:
    before = proofs_of(log)
    as_of(log)

    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(*INSIDE).values(nodes=b""))

    assert proofs_of(log) == before


@pytest.mark.parametrize("hashes", [b"", bytes(32), bytes(32 * 34 - 1), bytes(32 * 35)])
def test_a_twig_of_another_length_is_as_none(log: RecordLog, hashes: bytes) -> None:
    before = proofs_of(log)
    with log.database.writing() as connection:
        connection.execute(update(TREE_TWIGS).values(hashes=hashes))

    assert proofs_of(log) == before


def test_a_log_of_an_older_release_goes_on(log: RecordLog) -> None:
    as_of_0008(log)
    log.append([entry() for _ in range(300)])
    proofs = ProofReader(log.database)
    head = proofs.read_head()
    now = Frontier(head.size, split_hashes(head.peaks))

    assert twigs(log) == list(range(512, 768, 16))
    with log.database.reading() as connection:
        leaves = [bytes(nodes[:32]) for nodes in connection.execute(NODES).scalars()]
    for place in range(0, head.size, 13):
        proof = inclusion_from_hashes(now, place, proofs.read_inclusion_hashes(place, now))
        assert proof is not None
        verify_inclusion(place, head.size, leaves[place], proof, now.root())
    assert check_log(log.database, log.verifier, None)[0]


def test_one_twig_proves_a_record(log: RecordLog) -> None:
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
            write_tiles(connection, before, after)
        yield connection, leaves


def test_a_log_of_tens_of_thousands_proves_by_twigs_and_a_block(large: tuple[Connection, list[bytes]]) -> None:
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
    upper, frontier = TreeHashCache(), Frontier()
    for leaf in leaves:
        frontier, _ = frontier.append(leaf)
    peaks = dict(zip(covering_nodes(0, MANY), frontier.peaks, strict=True))
    first = inclusion_proof(5, MANY, TreeHashReader(connection, upper, peaks))
    verify_inclusion(5, MANY, leaves[5], first, frontier.root())

    # Gone are the block, every record's hashes, and all twigs but one.
    place = 100 * 256 + 7
    connection.execute(delete(TREE_BLOCKS))
    connection.execute(delete(TREE_TWIGS).where(TREE_TWIGS.c.first_index != 100 * 256))
    connection.execute(update(RECORDS).values(nodes=b""))

    proof = inclusion_proof(place, MANY, TreeHashReader(connection, upper, peaks))
    verify_inclusion(place, MANY, leaves[place], proof, frontier.root())
    with pytest.raises(RecordDamaged):
        inclusion_proof(place, MANY, TreeHashReader(connection, TreeHashCache(), peaks))


def test_the_upper_part_that_is_kept_has_a_limit() -> None:
    upper = TreeHashCache(limit=3)

    for index in range(20):
        upper.add({Node(16, index): b"1", Node(8, index): b"2"}, {Node(7, index): b"3"})
        assert Node(16, index) in upper.tiles
        assert len(upper.tiles) <= 4

    assert not any(node.level == 8 for node in upper.tiles)
    assert upper.hashes == {}

    for index in range(1000):
        upper.add({}, {Node(8, index): b"3"})
        assert Node(8, index) in upper.hashes
        assert len(upper.hashes) <= 301
