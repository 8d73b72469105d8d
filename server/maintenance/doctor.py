"""The checks of `doctor`: does every record, hash, checkpoint, key, run and bundle in the database hold?

`check_log` needs only the public half of the signing key, as an auditor would. `diagnose` adds what needs the log's own
keys: missing customer keys against the recorded erasures, and runs against their records.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.export import Export
from grounds_record.key_files import read_signing_key
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.note import VerifierKey
from grounds_record.verification import verify
from server.config import Settings
from server.errors import LogRefused, ServerError, StoreUnavailable
from server.maintenance.erasure import find_erasure_problems
from server.stores.catalog.artifacts import missing_artifacts
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.database import Database, Snapshot
from server.stores.record_log.forks import RememberedCheckpoint, adopted_ranges, fork_problem, fork_problems
from server.stores.record_log.header_chunks import check_chunks
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.record_log.proofs import LogHead, ProofReader, read_retention_proofs
from server.stores.record_log.tiles import leaf_tile_problems, tile_problems
from server.stores.runs.records import run_problems
from server.stores.tables import CHECKPOINTS

_ALL_INDEXES = range(2**62)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of all checks.

    Attributes:
        healthy: Whether every check passed.
        sentences: What was checked and what is wrong, one fact each.
    """

    healthy: bool
    sentences: tuple[str, ...]


def diagnose(database: Database, settings: Settings) -> Diagnosis:
    """Run every check.

    Raises:
        StoreUnavailable: A database does not answer.
        RecordError: The signing key cannot be read.
    """
    locations = KeyLocations.from_settings(settings)
    mark = locations.high_water_mark()
    holds, sentences = check_log(database, read_verifier_key(settings), settings.anchor_folder, mark)
    problems = [
        *find_key_and_run_problems(database, locations),
        *missing_artifacts(database, BundleCache(settings.bundles, "credit")),
    ]
    return Diagnosis(holds and not problems, (*sentences, *problems))


def check_log(
    database: Database, verifier: VerifierKey, anchor_folder: Path | None, mark: HighWaterMark | None = None
) -> tuple[bool, list[str]]:
    """Check every record with its columns, the tree, the head, and all checkpoints that were stored or anchored.

    Args:
        database: Of the log.
        verifier: The log's public key.
        anchor_folder: Where checkpoints were anchored; None: nowhere.
        mark: The high-water mark, which the log must continue; None: it is not checked.

    Returns:
        Whether everything holds, and the findings, one fact each.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    # Anchors and mark first, then the database as of one moment: a checkpoint of a later moment would be larger than the tree.
    anchors = _read_anchors(anchor_folder)
    newest = mark.read(verifier) if mark else None
    remembered = RememberedCheckpoint(str(mark.path), newest) if mark and newest else None
    with database.snapshot() as snapshot:
        return _check_snapshot(snapshot, verifier, anchors, remembered)


def find_key_and_run_problems(database: Database, places: KeyLocations) -> list[str]:
    """Return the missing keys that no erasure explains, and the runs that differ from their records, one fact each.

    Raises:
        StoreUnavailable: A database does not answer.
    """
    try:
        log = open_log(database, places)
    except LogRefused as error:
        return [str(error)]
    try:
        problems, erased_rows = find_erasure_problems(log)
        return [*problems, *run_problems(log, erased_rows)]
    except StoreUnavailable:
        raise
    except ServerError as error:  # a record that is needed here is damaged; `check_log` reports it in full
        return [str(error)]
    finally:
        log.close()


def read_verifier_key(settings: Settings) -> VerifierKey:
    """Read the public half of the signing key.

    Raises:
        RecordError: The key file is missing or not acceptable.
    """
    return read_signing_key(settings.signing_key, settings.log_origin).verifier()


def _check_snapshot(
    snapshot: Snapshot, verifier: VerifierKey, anchors: list[str], remembered: RememberedCheckpoint | None
) -> tuple[bool, list[str]]:
    """Check the database as of one moment."""
    proofs = ProofReader(snapshot)
    head, count = proofs.read_head_and_count()
    if type(head.size) is not int:  # SQLite stores any type in any column
        return False, ["the head of the record log: its size is not an integer"]
    with snapshot.reading() as connection:
        stored = [row.note for row in connection.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size))]
        retention_records = tuple(read_retention_proofs(connection, _ALL_INDEXES, head.size))
        hash_problems = [*leaf_tile_problems(connection, head.size), *tile_problems(connection, head.size)]
        chunk_problems: list[str] = []
        # One pass over all records serves both the verification and the comparison with the header chunks.
        records = check_chunks(connection, proofs.read_all(head.size), head.size, chunk_problems)
        export = Export(start=0, records=records, retentions=retention_records)
        given_up = _given_up_anchors(connection, head, anchors, verifier)
        active = [note for note in anchors if note not in given_up]
        verdict = verify(export, [head.checkpoint, *stored, *active], verifier)
        forks = fork_problems(connection, _frontier(head), [remembered] if remembered else [])
    head_problems = list(_head_problems(head, count, verifier)) or _frontier_problems(head, verifier)
    problems = [*head_problems, *hash_problems, *chunk_problems, *(problem for _, problem in forks)]
    notes = [f"an anchor of {size} records was given up by adopt-fork" for size in given_up.values()]
    return verdict.holds and not problems, [*verdict.sentences(), *notes, *problems]


def _given_up_anchors(
    connection: Connection, head: LogHead, anchors: list[str], verifier: VerifierKey
) -> dict[str, int]:
    """Return the anchors that contradict the log within a range that an operator gave up, with their sizes."""
    adopted = adopted_ranges(connection)
    found = {}
    for note in anchors if adopted else ():
        with suppress(RecordError):  # `verify` reports an anchor that cannot be opened
            checkpoint = open_checkpoint(note, verifier)
            if not any(checkpoint.size in lost for lost in adopted):
                continue
            if fork_problem(connection, _frontier(head), RememberedCheckpoint("an anchor", checkpoint)):
                found[note] = checkpoint.size
    return found


def _frontier(head: LogHead) -> Frontier:
    """Return the frontier in a head."""
    return Frontier(head.size, split_hashes(head.peaks))


def _head_problems(head: LogHead, count: int, verifier: VerifierKey) -> Iterator[str]:
    """Compare the head with the number of records and with the key."""
    if head.verifier_key != verifier.text():
        yield "the head of the record log names another public key than that of the signing key"
    if head.size != count:
        yield f"the head of the record log states {head.size} records, but the table has {count}"


def _frontier_problems(head: LogHead, verifier: VerifierKey) -> list[str]:
    """Compare the frontier in the head with the head's checkpoint, whose root `verify` compares with the records."""
    try:
        signed = open_checkpoint(head.checkpoint, verifier)
    except RecordError:
        return []  # reported by `verify`
    frontier = _frontier(head)
    # A tree of n leaves has one peak for each bit that is set in n.
    complete = len(frontier.peaks) == head.size.bit_count()
    if signed.size == head.size and complete and frontier.root() == signed.root:
        return []
    return ["the frontier in the head of the record log does not match its records"]


def _read_anchors(folder: Path | None) -> list[str]:
    """Read the checkpoints of the anchor folder."""
    if folder is None:
        return []
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("checkpoint-*.txt"))]
