"""Reads stored records with their proofs: inclusion proofs, consistency proofs, and proofs of ranges of the record log.

Reading proofs needs no key, because headers, ciphertexts and hashes are used as they are stored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from grounds_record.note import parse_verifier_key
from server.errors import RecordDamaged, TreeSizeUnknown
from server.stores.database import ConnectionSource
from server.stores.record_log.entries import as_bytes, stored_record
from server.stores.record_log.key_rotations import read_key_rotations
from server.stores.record_log.log import HEAD_NAME
from server.stores.record_log.record_reader import read_stored_record
from server.stores.record_log.tree_hashes import TreeHashCache, TreeHashReader
from server.stores.tables import LOG_HEAD, RECORDS

PAGE_ROWS = 500
_PAGE_BYTES = 1_000_000
Hashes = tuple[bytes, ...]
InclusionHashes = Mapping[Node, bytes]
_ProofFunction = Callable[[int, int, NodeReader], Hashes]
_SELECT_HEAD = select(LOG_HEAD).where(
    LOG_HEAD.c.name == HEAD_NAME
)  # this statement is built once, because building a statement takes longer than running it


@dataclass(frozen=True, slots=True)
class LogHead:
    """The head of the log.

    Attributes:
        size: Number of records.
        checkpoint: Signed checkpoint of exactly this size.
        verifier_key: Public key of the log as text, which verifies the checkpoint.
        peaks: Concatenated hashes of the frontier.
        key_rotations: The signed statements of all rotations of the signing key, the oldest first.
    """

    size: int
    checkpoint: str
    verifier_key: str
    peaks: bytes
    key_rotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RangeProof:
    """The proof of a range of records, with fields as in grounds_record.export.Export.

    Attributes:
        before: Hashes of the subtrees that cover the records before the range.
        after: Hashes of the subtrees that cover the records after the range.
        retentions: Retention records that explain removed ciphertexts in the range.
        consistency: One pair for each requested checkpoint: its size, and the proof that the tree extends the checkpoint.
    """

    before: Hashes
    after: Hashes
    retentions: tuple[RetentionProof, ...]
    consistency: tuple[tuple[int, Hashes], ...]


class ProofReader:
    """Reads stored records and their proofs. It may be used from any thread, unless its source is a snapshot.

    Attributes:
        cache: Cache of hashes of the upper part of the tree.
    """

    def __init__(self, source: ConnectionSource, cache: TreeHashCache | None = None) -> None:
        """Create a reader.

        Args:
            source: A database or a snapshot.
            cache: Cache that this reader shares with others; None for a new cache. Transactions that may be rolled back must
                not use a shared cache.
        """
        self._source, self.cache = source, cache or TreeHashCache()

    def read_head(self) -> LogHead:
        """Return the head of the log."""
        with self._source.reading() as connection:
            return _read_head(connection)

    def read_head_and_count(self) -> tuple[LogHead, int]:
        """Return the head and the number of rows in RECORDS, both as of the same moment."""
        # A single statement reads both values, so they are consistent without a transaction.
        count = select(func.count()).select_from(RECORDS).scalar_subquery()
        with self._source.reading() as connection:
            row = connection.execute(select(LOG_HEAD, count.label("count")).where(LOG_HEAD.c.name == HEAD_NAME)).one()
            return _log_head(connection, row), row._mapping["count"]  # noqa: SLF001 - SQLAlchemy's public name

    def prove_inclusion(self, record_id: str, size: int) -> tuple[StoredRecord, Hashes]:
        """Return a record and its inclusion proof in the tree of the first `size` records.

        Raises:
            RecordUnknown: There is no record with this id.
            TreeSizeUnknown: The tree of this size does not contain the record.
        """
        with self._source.reading() as connection:
            record = read_stored_record(connection, record_id)
            return record, _prove(inclusion_proof, record.index, size, self._hash_reader(connection))

    def prove_newest_inclusion(self, record_id: str) -> tuple[LogHead, StoredRecord, Hashes]:
        """Return the head of the log, a record, and its inclusion proof in the tree of the head.

        Raises:
            RecordUnknown: There is no record with this id.
            RecordDamaged: The tree of the head has no record with the index of the record.
        """
        with self._source.reading() as connection:
            head, record = _read_head(connection), read_stored_record(connection, record_id)
            if not 0 <= record.index < head.size:
                raise RecordDamaged(
                    "the index of the record was changed after it was written; run: python -m server doctor",
                    place=str(record.index),
                )
            # The head contains the peaks of the newest tree, so most proofs need to read only one leaf tile.
            peaks = _peak_hashes(Frontier(head.size, split_hashes(head.peaks)))
            return head, record, _prove(inclusion_proof, record.index, head.size, self._hash_reader(connection, peaks))

    def read_inclusion_hashes(self, index: int, frontier: Frontier) -> InclusionHashes:
        """Return the stored hashes that prove a record in the tree of a frontier; an empty mapping if the tree lacks the record.

        The hashes belong to complete subtrees, which never change. They can therefore be used for later trees too; see
        `inclusion_from_hashes`.
        """
        if index >= frontier.size:
            return {}
        with self._source.reading() as connection:
            return self._hash_reader(connection, _peak_hashes(frontier))(inclusion_nodes(index, frontier.size))

    def prove_consistency(self, old: int, new: int) -> Hashes:
        """Return the proof that the tree of `new` records extends the tree of `old` records.

        Raises:
            TreeSizeUnknown: `old` is not in the range 0 to `new`.
        """
        with self._source.reading() as connection:
            return _prove(consistency_proof, old, new, self._hash_reader(connection))

    def prove_range(self, start: int, end: int, size: int, kept_sizes: Sequence[int]) -> RangeProof:
        """Return the proof of records [start, end) in the tree of `size` records.

        Args:
            start: Index of the first record.
            end: Index after the last record.
            size: Size of the tree.
            kept_sizes: Sizes of checkpoints that the caller kept, each at most `size`.

        Raises:
            TreeSizeUnknown: The range or one of the sizes is not within the tree.
        """
        if not start <= end <= size or any(kept > size for kept in kept_sizes):
            raise TreeSizeUnknown(
                f"start <= end <= tree_size is required, and no kept size may exceed tree_size, which is {size}"
            )
        with self._source.reading() as connection:
            # From these subtree hashes and the leaf hashes of the range, an auditor can compute the root of the whole tree.
            before, after = covering_nodes(0, start), covering_nodes(end, size)
            read = self._hash_reader(connection)
            nodes = read((*before, *after))
            return RangeProof(
                tuple(nodes[node] for node in before),
                tuple(nodes[node] for node in after),
                tuple(read_retention_proofs(connection, range(start, end), size)),
                tuple((kept, _prove(consistency_proof, kept, size, read)) for kept in kept_sizes),
            )

    def read_page(self, start: int, end: int, rows_max: int = PAGE_ROWS, bytes_before: int = 0) -> list[StoredRecord]:
        """Return the first records of [start, end), as a new page or as the next part of a page.

        A page has about 1 MB at most, but at least one record if there is any. By default, it has at most 500 records.

        Args:
            start: Index of the first record.
            end: Index after the last record.
            rows_max: Largest number of records to return.
            bytes_before: Size of the records that the page already has; 0 for none.
        """
        wanted = select(RECORDS).where(RECORDS.c.record_index >= start, RECORDS.c.record_index < end)
        records: list[StoredRecord] = []
        size = bytes_before
        with self._source.reading() as connection:
            for row in connection.execute(wanted.order_by(RECORDS.c.record_index).limit(rows_max)):
                record = stored_record(row)
                size += stored_bytes(record)
                # Return the first record even if it is larger than a page. Otherwise it could never be read.
                if (records or bytes_before) and size > _PAGE_BYTES:
                    break
                records.append(record)
        return records

    def read_all(self, end: int) -> Iterator[StoredRecord]:
        """Yield all records before index `end`, read page by page."""
        start = 0
        while page := self.read_page(start, end):
            yield from page
            # start + len(page) would be wrong after a missing record, because the indexes have a gap.
            start = page[-1].index + 1

    def _hash_reader(self, connection: Connection, known: InclusionHashes | None = None) -> TreeHashReader:
        """Return a reader of tree hashes that uses the cache and the known hashes."""
        return TreeHashReader(connection, self.cache, known)


def stored_bytes(record: StoredRecord) -> int:
    """Return the size of header, ciphertext and hashes of a record."""
    return len(record.header) + len(record.ciphertext or b"") + HASH_BYTES * len(record.nodes)


def inclusion_from_hashes(frontier: Frontier, index: int, hashes: InclusionHashes) -> Hashes | None:
    """Return the inclusion proof of a record, without reading from the database.

    The hashes may have been read for an earlier tree. Subtrees that were complete in the earlier tree have the same hash in the
    later tree. The proof also needs hashes of subtrees that were incomplete in the earlier tree. Such hashes are often
    peaks of the later tree.

    Args:
        frontier: Frontier of the later tree.
        index: Index of the record.
        hashes: Result of `ProofReader.read_inclusion_hashes` for an earlier frontier.

    Returns:
        The proof; None if it needs a hash that is neither in `hashes` nor a peak of the frontier.
    """
    known = {**hashes, **_peak_hashes(frontier)}
    try:
        return inclusion_proof(index, frontier.size, lambda _nodes: known)
    except (KeyError, ProofInvalid):
        return None


def _peak_hashes(frontier: Frontier) -> InclusionHashes:
    """Return the hashes of a frontier by node."""
    return dict(zip(covering_nodes(0, frontier.size), frontier.peaks, strict=False))


def _read_head(connection: Connection) -> LogHead:
    """Read the head."""
    return _log_head(connection, connection.execute(_SELECT_HEAD).one())


def _log_head(connection: Connection, row: Any) -> LogHead:
    """Return the head in a row, with the rotations of the signing key."""
    try:
        rotations = read_key_rotations(connection, parse_verifier_key(row.verifier_key).name)
    except RecordError:
        rotations = ()  # a record of a rotation was changed; readers who need it then reject the checkpoint
    return LogHead(row.size, row.checkpoint, row.verifier_key, as_bytes(row.peaks), rotations)


def _prove(proof: _ProofFunction, first: int, second: int, read: NodeReader) -> Hashes:
    """Return a proof; raise TreeSizeUnknown if there is no such proof for these sizes."""
    try:
        return proof(first, second, read)
    except ProofInvalid as error:
        raise TreeSizeUnknown(str(error)) from error


def read_retention_proofs(connection: Connection, indexes: range, size: int) -> Iterator[RetentionProof]:
    """Yield the retention records that removed the ciphertext of any of these records, each with its inclusion proof.

    Args:
        connection: Connection to the log's database.
        indexes: Indexes of the records.
        size: Size of the tree that contains the retention records.
    """
    wanted = select(RECORDS).where(RECORDS.c.kind == RETENTION_KIND, RECORDS.c.record_index < size)
    for row in connection.execute(wanted.order_by(RECORDS.c.record_index)).all():
        record = stored_record(row)
        try:
            removed = parse_header(record.header).removed
        except RecordError:
            continue  # ignore a damaged header; `verify` then reports the missing ciphertexts
        if any(each.index in indexes for each in removed):
            yield RetentionProof(record, _prove(inclusion_proof, record.index, size, TreeHashReader(connection)))
