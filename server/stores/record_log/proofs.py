"""Reads records as stored and proves them: inclusion, consistency and ranges of the record log.

No key is needed for a proof: it is made of header, ciphertext and hashes, as an auditor reads them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.export import RetentionProof, StoredRecord
from grounds_record.header import RETENTION_KIND, parse_header
from grounds_record.merkle import (
    HASH_BYTES,
    Frontier,
    Node,
    NodeReader,
    consistency_proof,
    covering_nodes,
    inclusion_nodes,
    inclusion_proof,
    split_hashes,
)
from server.errors import RecordDamaged, TreeSizeUnknown
from server.stores.database import ConnectionSource
from server.stores.record_log.entries import as_bytes, stored_record
from server.stores.record_log.log import HEAD_NAME
from server.stores.record_log.record_reader import read_stored_record
from server.stores.record_log.tree_hashes import TreeHashCache, TreeHashReader
from server.stores.tables import LOG_HEAD, RECORDS

_PAGE_ROWS = 500
_PAGE_BYTES = 1_000_000
Hashes = tuple[bytes, ...]
InclusionHashes = Mapping[Node, bytes]
_ProofFunction = Callable[[int, int, NodeReader], Hashes]
_SELECT_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)  # built once


@dataclass(frozen=True, slots=True)
class LogHead:
    """The head of the log.

    Attributes:
        size: Number of records.
        checkpoint: The signed checkpoint of exactly this size.
        verifier_key: The public key that verifies it.
        peaks: The hashes of the frontier, concatenated.
    """

    size: int
    checkpoint: str
    verifier_key: str
    peaks: bytes


@dataclass(frozen=True, slots=True)
class RangeProof:
    """The proof of a range of records, with the fields of grounds_record.export.Export.

    Attributes:
        before: Hashes of the subtrees that cover the records before the range.
        after: Likewise of those after it.
        retentions: The retention records that explain removed ciphertexts in the range.
        consistency: For each tree size that the caller has a checkpoint of: the size, and the proof that this tree extends it.
    """

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
        """Read from a source.

        Args:
            source: A database, or a snapshot of one.
            cache: Shared by readers of committed data; its hashes must not come from a transaction that may roll back.
        """
        self._source, self.cache = source, cache or TreeHashCache()

    def read_head(self) -> LogHead:
        """Return the head."""
        with self._source.reading() as connection:
            return _read_head(connection)

    def read_head_and_count(self) -> tuple[LogHead, int]:
        """Return the head and the number of rows in RECORDS, both of the same moment."""
        # One statement: both values are of one moment, without a transaction around two.
        count = select(func.count()).select_from(RECORDS).scalar_subquery()
        with self._source.reading() as connection:
            row = connection.execute(select(LOG_HEAD, count.label("count")).where(LOG_HEAD.c.name == HEAD_NAME)).one()
        return LogHead(row.size, row.checkpoint, row.verifier_key, as_bytes(row.peaks)), row._mapping["count"]  # noqa: SLF001 - SQLAlchemy's public name

    def prove_inclusion(self, record_id: str, size: int) -> tuple[StoredRecord, Hashes]:
        """Return a record and its inclusion proof in the tree of the first `size` records.

        Raises:
            RecordUnknown: There is no such record.
            TreeSizeUnknown: The tree of that size does not include it.
        """
        with self._source.reading() as connection:
            record = read_stored_record(connection, record_id)
            return record, _prove(inclusion_proof, record.index, size, self._hash_reader(connection))

    def prove_newest_inclusion(self, record_id: str) -> tuple[LogHead, StoredRecord, Hashes]:
        """Return the head, a record, and its inclusion proof in the tree of the head.

        Raises:
            RecordUnknown: There is no such record.
            RecordDamaged: Its index is beyond the head.
        """
        with self._source.reading() as connection:
            head, record = _read_head(connection), read_stored_record(connection, record_id)
            if not 0 <= record.index < head.size:
                raise RecordDamaged(
                    "the record is not where it was written; run: python -m server doctor", place=str(record.index)
                )
            # The newest tree's own peaks are in the head: most proofs then read one leaf tile and nothing else.
            peaks = _peak_hashes(Frontier(head.size, split_hashes(head.peaks)))
            return head, record, _prove(inclusion_proof, record.index, head.size, self._hash_reader(connection, peaks))

    def read_inclusion_hashes(self, index: int, frontier: Frontier) -> InclusionHashes:
        """Return the hashes that prove a record in the tree of a frontier; none if it is not in that tree.

        They are all of complete subtrees, so that they are hashes of every later tree too: see inclusion_from_hashes.
        """
        if index >= frontier.size:
            return {}
        with self._source.reading() as connection:
            return self._hash_reader(connection, _peak_hashes(frontier))(inclusion_nodes(index, frontier.size))

    def prove_consistency(self, old: int, new: int) -> Hashes:
        """Return the proof that the tree of `new` records extends that of `old`.

        Raises:
            TreeSizeUnknown: There are no such trees.
        """
        with self._source.reading() as connection:
            return _prove(consistency_proof, old, new, self._hash_reader(connection))

    def prove_range(self, start: int, end: int, size: int, kept_sizes: Sequence[int]) -> RangeProof:
        """Return the proof of records [start, end) in the tree of `size` records.

        Args:
            start: Index of the first record.
            end: Index after the last.
            size: Of the tree.
            kept_sizes: Tree sizes of which the caller has checkpoints, none above `size`.

        Raises:
            TreeSizeUnknown: The range or one of the sizes is not within the tree.
        """
        if not start <= end <= size or any(kept > size for kept in kept_sizes):
            raise TreeSizeUnknown(f"start <= end <= tree_size, and no kept size above it; tree_size is {size}")
        with self._source.reading() as connection:
            # With these subtree hashes and the leaf hashes of the range, an auditor computes the root of the whole tree.
            before, after = covering_nodes(0, start), covering_nodes(end, size)
            read = self._hash_reader(connection)
            nodes = read((*before, *after))
            return RangeProof(
                tuple(nodes[node] for node in before),
                tuple(nodes[node] for node in after),
                tuple(read_retention_proofs(connection, range(start, end), size)),
                tuple((kept, _prove(consistency_proof, kept, size, read)) for kept in kept_sizes),
            )

    def read_page(self, start: int, end: int) -> list[StoredRecord]:
        """Return records from index `start` on, before `end`: at most 500 and about 1 MB, but at least one if there is one."""
        wanted = select(RECORDS).where(RECORDS.c.record_index >= start, RECORDS.c.record_index < end)
        records: list[StoredRecord] = []
        size = 0
        with self._source.reading() as connection:
            for row in connection.execute(wanted.order_by(RECORDS.c.record_index).limit(_PAGE_ROWS)):
                record = stored_record(row)
                size += len(record.header) + len(record.ciphertext or b"") + HASH_BYTES * len(record.nodes)
                # The first record is returned even if it is larger than a page; otherwise it could never be read.
                if records and size > _PAGE_BYTES:
                    break
                records.append(record)
        return records

    def read_all(self, end: int) -> Iterator[StoredRecord]:
        """Yield all records before index `end`, reading page by page."""
        start = 0
        while page := self.read_page(start, end):
            yield from page
            # Not start + len(page): where a record is missing, indexes have a gap.
            start = page[-1].index + 1

    def _hash_reader(self, connection: Connection, known: InclusionHashes | None = None) -> TreeHashReader:
        """Return a reader of tree hashes that uses the cache, and hashes that are known already."""
        return TreeHashReader(connection, self.cache, known)


def inclusion_from_hashes(frontier: Frontier, index: int, hashes: InclusionHashes) -> Hashes | None:
    """Return the inclusion proof of a record in a later tree than the one its hashes were read for.

    No database is asked. Only subtrees that were incomplete then have new hashes, and those are often peaks of the later
    frontier.

    Args:
        frontier: Of the later tree.
        index: Of the record.
        hashes: From ProofReader.read_inclusion_hashes for an earlier frontier.

    Returns:
        The proof; None if it needs a hash that is neither in `hashes` nor a peak.
    """
    # A proof takes the siblings on the way up; those that the earlier tree lacked are mostly peaks of the later one.
    known = {**hashes, **_peak_hashes(frontier)}
    try:
        return inclusion_proof(index, frontier.size, lambda _nodes: known)
    except (KeyError, ProofInvalid):
        return None


def _peak_hashes(frontier: Frontier) -> InclusionHashes:
    """Return the hashes of a frontier, by node."""
    return dict(zip(covering_nodes(0, frontier.size), frontier.peaks, strict=False))


def _read_head(connection: Connection) -> LogHead:
    """Read the head."""
    row = connection.execute(_SELECT_HEAD).one()
    return LogHead(row.size, row.checkpoint, row.verifier_key, as_bytes(row.peaks))


def _prove(proof: _ProofFunction, first: int, second: int, read: NodeReader) -> Hashes:
    """Return a proof; raise TreeSizeUnknown if trees of these sizes have none."""
    try:
        return proof(first, second, read)
    except ProofInvalid as error:
        raise TreeSizeUnknown(str(error)) from error


def read_retention_proofs(connection: Connection, indexes: range, size: int) -> Iterator[RetentionProof]:
    """Yield the retention records that removed any of the records with these indexes, each with its inclusion proof.

    Args:
        connection: To read with.
        indexes: Of records.
        size: Of the tree that the proofs are in.
    """
    wanted = select(RECORDS).where(RECORDS.c.kind == RETENTION_KIND, RECORDS.c.record_index < size)
    for row in connection.execute(wanted.order_by(RECORDS.c.record_index)).all():
        record = stored_record(row)
        try:
            removed = parse_header(record.header).removed
        except RecordError:
            continue  # a damaged header removes nothing: `verify` then reports the ciphertexts as missing
        if any(each.index in indexes for each in removed):
            yield RetentionProof(record, _prove(inclusion_proof, record.index, size, TreeHashReader(connection)))
