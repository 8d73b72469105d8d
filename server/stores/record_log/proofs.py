"""Reads the log for those who check it: stretches of records as stored, and proofs from the stored hashes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.export import RetentionProof, StoredRecord
from grounds_record.header import RETENTION_KIND, parse_header
from grounds_record.merkle import (
    Frontier,
    Node,
    NodeReader,
    consistency_proof,
    covering_nodes,
    inclusion_nodes,
    inclusion_proof,
)
from server.errors import RecordDamaged, TreeSizeUnknown
from server.stores.database import ConnectionSource
from server.stores.record_log.entries import as_bytes, split_hashes, stored_record
from server.stores.record_log.log import HEAD_NAME
from server.stores.record_log.record_reader import read_stored_record
from server.stores.record_log.tree_hashes import TreeHashCache, TreeHashReader
from server.stores.tables import LOG_HEAD, RECORDS

PAGE_ROWS = 500
PAGE_BYTES = 1_000_000
Hashes = tuple[bytes, ...]
InclusionHashes = Mapping[Node, bytes]
Proof = Callable[[int, int, NodeReader], Hashes]
WHOLE_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)  # made once, as OF_ID


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far the log has grown, with the checkpoint of this very size."""

    size: int
    checkpoint: str
    verifier_key: str
    peaks: bytes


@dataclass(frozen=True, slots=True)
class RangeProof:
    """What proves a stretch, as `record.export.Export` needs it."""

    before: Hashes
    after: Hashes
    retentions: tuple[RetentionProof, ...]
    consistency: tuple[tuple[int, Hashes], ...]


class ProofReader:
    """Reads and proves records as stored. Its methods may be called from any thread if its source's may.

    Attributes:
        cache: Hashes of the tree's upper part, kept in memory.
    """

    def __init__(self, source: ConnectionSource, cache: TreeHashCache | None = None) -> None:
        """Read from a source; share a cache only between readers of committed data, not of a transaction that may roll back."""
        self._source, self.cache = source, cache or TreeHashCache()

    def _tree_hashes(self, connection: Connection, head: LogHead | None = None) -> TreeHashReader:
        """Give what reads the tree's hashes; the newest head knows some of them itself."""
        return TreeHashReader(
            connection, self.cache, peaks_of(Frontier(head.size, split_hashes(head.peaks))) if head else {}
        )

    def read_head(self) -> LogHead:
        """Give the head."""
        with self._source.reading() as connection:
            return read_head(connection)

    def read_head_and_count(self) -> tuple[LogHead, int]:
        """Give the head, and how many records there are, of the same moment."""
        count = select(func.count()).select_from(RECORDS).scalar_subquery()
        with self._source.reading() as connection:
            row = connection.execute(select(LOG_HEAD, count.label("count")).where(LOG_HEAD.c.name == HEAD_NAME)).one()
        return LogHead(row.size, row.checkpoint, row.verifier_key, as_bytes(row.peaks)), row._mapping["count"]  # noqa: SLF001 - SQLAlchemy's public name

    def prove_inclusion(self, record_id: str, size: int) -> tuple[StoredRecord, Hashes]:
        """Prove a record in the tree of `size` records.

        Raises:
            RecordUnknown: There is no such record.
            TreeSizeUnknown: The tree of that size does not hold it.
        """
        with self._source.reading() as connection:
            record = read_stored_record(connection, record_id)
            return record, _prove(inclusion_proof, record.index, size, self._tree_hashes(connection))

    def prove_newest_inclusion(self, record_id: str) -> tuple[LogHead, StoredRecord, Hashes]:
        """Prove a record in the tree of the newest checkpoint, which comes with it.

        Raises:
            RecordUnknown: There is no such record.
            RecordDamaged: It stands where the log has not come yet.
        """
        with self._source.reading() as connection:
            head, record = read_head(connection), read_stored_record(connection, record_id)
            if not 0 <= record.index < head.size:
                raise RecordDamaged(
                    "the record is not where it was written; run: python -m server doctor", place=str(record.index)
                )
            return head, record, _prove(inclusion_proof, record.index, head.size, self._tree_hashes(connection, head))

    def read_inclusion_hashes(self, index: int, frontier: Frontier) -> InclusionHashes:
        """Read what proves a record in a tree; of complete subtrees, so that every later tree has them too."""
        if index >= frontier.size:
            return {}
        with self._source.reading() as connection:
            return TreeHashReader(connection, self.cache, peaks_of(frontier))(inclusion_nodes(index, frontier.size))

    def prove_consistency(self, old: int, new: int) -> Hashes:
        """Prove that the tree of `new` records begins with that of `old`."""
        with self._source.reading() as connection:
            return _prove(consistency_proof, old, new, self._tree_hashes(connection))

    def prove_range(self, start: int, end: int, size: int, kept_sizes: Sequence[int]) -> RangeProof:
        """Prove records [start, end) in the tree of `size`."""
        if not start <= end <= size or any(kept > size for kept in kept_sizes):
            raise TreeSizeUnknown(f"start <= end <= tree_size, and no kept size above it; tree_size is {size}")
        with self._source.reading() as connection:
            before, after = covering_nodes(0, start), covering_nodes(end, size)
            read = self._tree_hashes(connection)
            nodes = read((*before, *after))
            return RangeProof(
                tuple(nodes[node] for node in before),
                tuple(nodes[node] for node in after),
                tuple(read_retention_proofs(connection, range(start, end), size)),
                tuple((kept, _prove(consistency_proof, kept, size, read)) for kept in kept_sizes),
            )

    def read_page(self, start: int, end: int) -> list[StoredRecord]:
        """Give the records from `start` on: at most 500 and about 1 MB, at least one where there is one."""
        wanted = select(RECORDS).where(RECORDS.c.record_index >= start, RECORDS.c.record_index < end)
        records: list[StoredRecord] = []
        size = 0
        with self._source.reading() as connection:
            for row in connection.execute(wanted.order_by(RECORDS.c.record_index).limit(PAGE_ROWS)):
                record = stored_record(row)
                size += len(record.header) + len(record.ciphertext or b"") + 32 * len(record.nodes)
                if records and size > PAGE_BYTES:
                    break
                records.append(record)
        return records

    def read_all(self, end: int) -> Iterator[StoredRecord]:
        """Give all records before `end`, page by page."""
        start = 0
        while page := self.read_page(start, end):
            yield from page
            start = page[-1].index + 1


def inclusion_from_hashes(frontier: Frontier, index: int, branch: InclusionHashes) -> Hashes | None:
    """Prove a record in a tree that has grown since its branch was read; None where that takes what neither has."""
    held = {**branch, **peaks_of(frontier)}
    try:
        return inclusion_proof(index, frontier.size, lambda _nodes: held)
    except (KeyError, ProofInvalid):
        return None


def peaks_of(frontier: Frontier) -> InclusionHashes:
    """Give the hashes that a frontier has."""
    return dict(zip(covering_nodes(0, frontier.size), frontier.peaks, strict=False))


def read_head(connection: Connection) -> LogHead:
    """Read the head."""
    row = connection.execute(WHOLE_HEAD).one()
    return LogHead(row.size, row.checkpoint, row.verifier_key, as_bytes(row.peaks))


def _prove(proof: Proof, first: int, second: int, read: NodeReader) -> Hashes:
    """Give a proof, or say that there is none for trees of these sizes."""
    try:
        return proof(first, second, read)
    except ProofInvalid as error:
        raise TreeSizeUnknown(str(error)) from error


def read_retention_proofs(connection: Connection, places: range, size: int) -> Iterator[RetentionProof]:
    """Give the records that say what retention removed among these places."""
    wanted = select(RECORDS).where(RECORDS.c.kind == RETENTION_KIND, RECORDS.c.record_index < size)
    for row in connection.execute(wanted.order_by(RECORDS.c.record_index)).all():
        record = stored_record(row)
        try:
            removed = parse_header(record.header).removed
        except RecordError:
            continue  # it is no retention record any more, and verify says what is missing
        if any(each.index in places for each in removed):
            yield RetentionProof(record, _prove(inclusion_proof, record.index, size, TreeHashReader(connection)))
