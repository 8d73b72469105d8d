"""The checks of `doctor`: records, tree hashes, checkpoints, customers' keys, runs, and bundles of old decisions.

`check_log` needs only the public half of the signing key, like an auditor. `diagnose` adds the checks that need the
log's own keys: it compares missing customer keys with the recorded erasures, and runs with their records.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from grounds_record.checkpoint import open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.export import Export
from grounds_record.key_history import KeyHistory, LogKeys
from grounds_record.merkle import Frontier, split_hashes
from grounds_record.note import VerifierKey
from grounds_record.verification import verify
from models.isolation.processes import GraphProcesses
from server.config import Settings
from server.errors import LogRefused, PolicyRefused, RecordDamaged, ServerError, StoreUnavailable
from server.maintenance.erasure import find_erasure_problems
from server.registry.model_registry import CREDIT_FAMILY
from server.registry.policy_registry import find_policy_in_force
from server.stores.catalog.artifacts import activation_problems, missing_artifacts
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database, Snapshot
from server.stores.keys.places import open_place
from server.stores.record_log.anchors import read_anchor_folder
from server.stores.record_log.forks import RememberedCheckpoint, fork_problem, fork_problems, is_given_up, read_given_up
from server.stores.record_log.header_chunks import check_chunks
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_rotations import read_key_history
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
        sentences: Sentences about what was checked and what is wrong, one fact in each.
    """

    healthy: bool
    sentences: tuple[str, ...]


def diagnose(database: Database, settings: Settings) -> Diagnosis:
    """Run every check.

    Raises:
        StoreUnavailable: A database does not respond.
        LogRefused: The signing key cannot be read.
    """
    locations = KeyLocations.from_settings(settings)
    mark = locations.high_water_mark()
    passed, sentences = check_log(database, read_verifier_key(settings), settings.anchor_folder, mark)
    with GraphProcesses() as processes:
        problems = [
            *find_key_and_run_problems(database, locations),
            *missing_artifacts(database, BundleCache(settings.bundles, CREDIT_FAMILY, processes)),
            *activation_problems(database, settings.bundles, four_eyes=settings.four_eyes),
            *_policy_problems(database, settings.policy),
        ]
    return Diagnosis(passed and not problems, (*sentences, *problems))


def _policy_problems(database: Database, path: Path) -> list[str]:
    """Return a sentence that states why the policy in force cannot be used; empty if the policy can be used.

    Args:
        database: The database with the activations and the stored policies.
        path: The policy file, which is in force if no policy was ever activated.
    """
    try:
        find_policy_in_force(PolicyStore(database), path)
    except (PolicyRefused, RecordDamaged) as error:
        return [f"the policy in force cannot be used: {error}"]
    return []


def check_log(
    database: Database, verifier: VerifierKey, anchor_folder: Path | None, mark: HighWaterMark | None = None
) -> tuple[bool, list[str]]:
    """Check every record with its columns, the tree, the head, and all checkpoints that were stored or anchored.

    Args:
        database: The database of the record log.
        verifier: The log's public key.
        anchor_folder: The folder with anchored checkpoints; None if there is none.
        mark: The high-water mark. The log must be consistent with this checkpoint; None skips the check.

    Returns:
        Whether every check passed, and sentences about what was checked and what is wrong, one fact in each.

    Raises:
        StoreUnavailable: The database does not respond.
    """
    # Read anchors and mark before the snapshot of the database, because a checkpoint that was written after the
    # snapshot may have more records than the tree in the snapshot.
    anchors = read_anchor_folder(anchor_folder)
    try:
        with database.reading() as connection:
            keys = read_key_history(connection, verifier)
        newest = mark.read(keys) if mark else None
    except LogRefused as error:
        return False, [str(error)]
    missing = []
    if anchor_folder is not None and not anchor_folder.is_dir():
        missing.append(
            f"{anchor_folder}: the anchor folder does not exist, so no anchor was compared; check `anchor_folder`"
        )
    remembered = RememberedCheckpoint(str(mark.path), newest) if mark and newest else None
    with database.snapshot() as snapshot:
        passed, sentences = _check_snapshot(snapshot, keys, anchors, remembered)
    return passed and not missing, [*sentences, *missing]


def find_key_and_run_problems(database: Database, locations: KeyLocations) -> list[str]:
    """Return a sentence for each key that contradicts the recorded erasures, and each run that differs from its record.

    Raises:
        StoreUnavailable: A database does not respond.
    """
    try:
        log = open_log(database, locations)
    except LogRefused as error:
        return [str(error)]
    try:
        problems, erased_rows = find_erasure_problems(log)
        return [*problems, *run_problems(log, erased_rows)]
    except StoreUnavailable:
        raise
    except ServerError as error:  # a record that this check needs is damaged; `check_log` reports it
        return [str(error)]
    finally:
        log.close()


def read_verifier_key(settings: Settings) -> VerifierKey:
    """Read the public half of the signing key.

    Raises:
        LogRefused: The key is missing or invalid.
    """
    return open_place(settings.signing_key).read_signer(settings.log_origin).verifier()


def _check_snapshot(
    snapshot: Snapshot, verifier: KeyHistory, anchors: list[str], remembered: RememberedCheckpoint | None
) -> tuple[bool, list[str]]:
    """Check a snapshot of the database. Return whether every check passed, and sentences on what was checked."""
    proofs = ProofReader(snapshot)
    head, count = proofs.read_head_and_count()
    if type(head.size) is not int:  # SQLite accepts any type in any column
        return False, ["the head of the record log: its size is not an integer"]
    with snapshot.reading() as connection:
        stored = [row.note for row in connection.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size))]
        retention_records = tuple(read_retention_proofs(connection, _ALL_INDEXES, head.size))
        hash_problems = [*leaf_tile_problems(connection, head.size), *tile_problems(connection, head.size)]
        chunk_problems: list[str] = []
        # `check_chunks` yields the records again, so that `verify` can check them without a second read of the whole
        # log.
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


def _given_up_anchors(connection: Connection, head: LogHead, anchors: list[str], verifier: LogKeys) -> dict[str, int]:
    """Return the anchors that contradict the log and that `adopt-fork` gave up.

    Returns:
        The size of each such anchor, by its text.
    """
    given_up = read_given_up(connection)
    found = {}
    for note in anchors if given_up else ():
        with suppress(RecordError):  # `verify` reports an anchor that cannot be parsed or verified
            checkpoint = open_checkpoint(note, verifier)
            if not is_given_up(checkpoint, given_up):
                continue
            if fork_problem(connection, _frontier(head), RememberedCheckpoint("an anchor", checkpoint)):
                found[note] = checkpoint.size
    return found


def _frontier(head: LogHead) -> Frontier:
    """Return the frontier that a head contains: the roots of the complete subtrees of its tree."""
    return Frontier(head.size, split_hashes(head.peaks))


def _head_problems(head: LogHead, count: int, verifier: KeyHistory) -> Iterator[str]:
    """Yield a problem if the head contradicts the number of records, and one if it contradicts the signing key."""
    if head.verifier_key != verifier.newest.text():
        yield "the head of the record log contains a public key that does not belong to the signing key"
    if head.size != count:
        yield f"the head of the record log states {head.size} records, but the table has {count}"


def _frontier_problems(head: LogHead, verifier: LogKeys) -> list[str]:
    """Return a problem if the frontier in the head differs from the checkpoint in the head.

    `verify` compares the root in the checkpoint with the records.
    """
    try:
        signed = open_checkpoint(head.checkpoint, verifier)
    except RecordError:
        return []  # reported by `verify`
    frontier = _frontier(head)
    # A tree of n leaves has one peak (the root of a complete subtree) for each bit that is set in n.
    complete = len(frontier.peaks) == head.size.bit_count()
    if signed.size == head.size and complete and frontier.root() == signed.root:
        return []
    return ["the frontier in the head of the record log does not match its records"]
