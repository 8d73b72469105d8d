"""`python -m server doctor`: does everything in the database hold? Needs the public half of the signing key only."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.export import Export
from grounds_record.key_files import read_signing_key
from grounds_record.merkle import Frontier
from grounds_record.note import VerifierKey
from grounds_record.verify import verify
from server.config import Settings
from server.stores.database import Database
from server.stores.record_log.entries import split_hashes
from server.stores.record_log.header_index import check_chunks
from server.stores.record_log.leaf_tiles import leaf_tile_problems
from server.stores.record_log.proofs import LogHead, ProofReader, read_retention_proofs
from server.stores.record_log.tiles import tile_problems
from server.stores.tables import CHECKPOINTS

_ALL_INDEXES = 2**62


def check_log(database: Database, verifier: VerifierKey, anchor_folder: Path | None) -> tuple[bool, list[str]]:
    """Check every record with its columns, the tree, the head, and all checkpoints that were kept.

    Returns:
        Whether everything holds, and what was found, one fact a line.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    # The database is read as it is at one moment, after the anchors: those of what is written meanwhile would be too large.
    anchors = _read_anchors(anchor_folder)
    with database.snapshot() as then:
        return _check_snapshot(then, verifier, anchors)


def _check_snapshot(database: Database, verifier: VerifierKey, anchors: list[str]) -> tuple[bool, list[str]]:
    """Check the database of one moment."""
    proofs = ProofReader(database)
    head, count = proofs.read_head_and_count()
    if type(head.size) is not int:
        return False, ["the head of the log does not say, in whole numbers, how many records there are"]
    with database.reading() as connection:
        kept = [row.note for row in connection.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size))]
        accounts = tuple(read_retention_proofs(connection, range(_ALL_INDEXES), head.size))
        nodes = [*leaf_tile_problems(connection, head.size), *tile_problems(connection, head.size)]
        chunks: list[str] = []
        records = check_chunks(connection, proofs.read_all(head.size), head.size, chunks)
        export = Export(start=0, records=records, retentions=accounts)
        verdict = verify(export, [head.checkpoint, *kept, *anchors], verifier)
    problems = list(_head_problems(head, count, verifier))
    found = [*(problems or _frontier_problems(head, verifier)), *nodes, *chunks]
    return verdict.holds and not found, [*verdict.sentences(), *found]


def _head_problems(head: LogHead, count: int, verifier: VerifierKey) -> Iterator[str]:
    """Compare the head with the records and with the key."""
    if head.verifier_key != verifier.text():
        yield "the head of the log names another public key than the signing key's"
    if head.size != count:
        yield f"the head of the log says {head.size} records; the table has {count}"


def _frontier_problems(head: LogHead, verifier: VerifierKey) -> list[str]:
    """Compare the frontier of the head with its checkpoint, whose root `verify` has held against the records."""
    try:
        signed = open_checkpoint(head.checkpoint, verifier)
    except RecordError:
        return []  # which `verify` has told
    frontier = Frontier(head.size, split_hashes(head.peaks))
    fits = len(frontier.peaks) == head.size.bit_count() and frontier.root() == signed.root
    return (
        [] if signed.size == head.size and fits else ["the frontier in the head of the log is not that of its records"]
    )


def _read_anchors(folder: Path | None) -> list[str]:
    """Read the checkpoints of the anchor folder."""
    if folder is None:
        return []
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("checkpoint-*.txt"))]


def read_verifier_key(settings: Settings) -> VerifierKey:
    """Read the public half of the signing key."""
    return read_signing_key(settings.signing_key, settings.log_origin).verifier()
