"""Checks an exported stretch of the log against signed checkpoints: needs the public key and nothing else.

What is compared, and what each comparison can tell:

- a record's bytes with its stored hash: which record was changed, or that only the stored hash was;
- the tree over the bytes with the root of each checkpoint that falls into the stretch: whether anything at all was;
- from a root that does not fit, down through the stored hashes (`locate`): which record;
- records whose ciphertext is missing with the proven retention records that name them, and their headers' hashes.

Who rewrites records together with every stored hash can be caught, because a root was signed before, but not pinned to a
record: the verdict then names the records between the last checkpoint that holds and the first that does not. So the more
checkpoints are kept, the narrower. One fault can hide another one near it: mend it and verify again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.export import Export, RetentionProof
from grounds_record.header import RETENTION_KIND, parse_header
from grounds_record.merkle import (
    Node,
    covering_nodes,
    leaf_range,
    stored_position,
    verify_consistency,
    verify_inclusion,
)
from grounds_record.note import VerifierKey
from grounds_record.rebuilt_tree import RebuiltTree
from grounds_record.tree_differences import TreeDifferences, extract_exchanges, locate_differences
from grounds_record.verification_report import (
    Fault,
    FaultKind,
    RangeSet,
    VerificationReport,
    fault_ranges,
    merge_faults,
)

HASH_ALTERED = "the record is as it was written, but the hashes stored with it were changed"


def verify(export: Export, checkpoints: Sequence[str], key: VerifierKey) -> VerificationReport:
    """Say whether the exported records are those that the checkpoints promised, and if not, where they differ.

    Args:
        export: The records; read once, from first to last.
        checkpoints: Signed notes: the log's newest one and those that were kept, in any order.
        key: The log's public key, named after the log.

    Returns:
        The verdict. Bad data never raises; it is a fault.
    """
    faults: list[Fault] = []
    accepted = accept(checkpoints, key, faults)
    newest = accepted[-1] if accepted else None
    before = export.before
    if len(before) != len(covering_nodes(0, export.start)):
        faults.append(incomplete(f"it needs {len(covering_nodes(0, export.start))} hashes of the log before it"))
        return VerificationReport(export.start, export.start, 0, (), (), tuple(faults))
    walk = RebuiltTree(export.start, before, {checkpoint.size for checkpoint in accepted})
    walk.read(export.records)
    end = walk.frontier.size
    if newest is not None:
        reach(walk, newest.size, export.after)
    compared = compare(walk, accepted, end)
    faults += walk.faults + walk.columns + compared.faults
    faults += miscounted(walk, faults, compared.vouched)
    faults += stored_hashes(walk, faults, compared.vouched)
    faults += retention(walk, export.retentions, newest)
    proven = sorted(compared.proven + continued(walk, export, accepted, faults))
    size = newest.size if newest else 0
    return VerificationReport(export.start, end, size, tuple(proven), tuple(compared.refuted), merge_faults(faults))


@dataclass(slots=True)
class Compared:
    """What comparing the records with the roots gave.

    Attributes:
        proven: Sizes of the checkpoints whose roots the records give.
        refuted: Sizes of those whose roots they do not give.
        vouched: All records before this place are those of a root, but for those in `faults`.
        faults: Records that are not those of a root.
    """

    proven: list[int] = field(default_factory=list)
    refuted: list[int] = field(default_factory=list)
    vouched: int = 0
    faults: list[Fault] = field(default_factory=list)


def accept(checkpoints: Sequence[str], key: VerifierKey, faults: list[Fault]) -> list[Checkpoint]:
    """Give the checkpoints that the key signed, by size, one of each."""
    accepted: dict[int, Checkpoint] = {}
    for number, note in enumerate(checkpoints, start=1):
        try:
            checkpoint = open_checkpoint(note, key)
        except RecordError as error:
            faults.append(Fault(FaultKind.CHECKPOINT_REFUSED, None, None, f"checkpoint {number} is refused: {error}"))
            continue
        if accepted.setdefault(checkpoint.size, checkpoint).root != checkpoint.root:
            told = f"two checkpoints of {checkpoint.size} records, both signed, have different roots: two histories"
            faults.append(Fault(FaultKind.CHECKPOINTS_DISAGREE, None, None, told))
    if not accepted:
        faults.append(Fault(FaultKind.CHECKPOINT_REFUSED, None, None, "there is no checkpoint to verify against"))
    return [accepted[size] for size in sorted(accepted)]


def reach(walk: RebuiltTree, size: int, after: tuple[bytes, ...]) -> None:
    """Go on from the end of the records to the size of the newest checkpoint."""
    end = walk.frontier.size
    if size < walk.start:
        walk.faults.append(incomplete(f"it begins after the {size} records that the newest checkpoint covers"))
    if end >= size:
        return
    if not after:
        told = f"missing at the end of the log; the checkpoint of {size} records covers it"
        walk.faults.append(Fault(FaultKind.RECORD_MISSING, end, size - 1, told))
    elif len(after) != len(covering_nodes(end, size)):
        walk.faults.append(
            incomplete(f"it needs {len(covering_nodes(end, size))} hashes for the records {end} to {size - 1}")
        )
    else:
        walk.extend(size, after)


def compare(walk: RebuiltTree, accepted: Sequence[Checkpoint], end: int) -> Compared:
    """Compare the records, which end before `end`, with the roots."""
    compared, found, untraceable = Compared(), TreeDifferences(), False
    for checkpoint in accepted:
        size, root = checkpoint.size, walk.roots.get(checkpoint.size)
        if root is None:
            continue
        if root == checkpoint.root:
            compared.proven.append(size)
            compared.vouched = size
            continue
        compared.refuted.append(size)
        if locate_differences(walk, size, checkpoint.root, found):
            compared.vouched = size
        elif not untraceable:
            # What cannot be traced from the first root cannot be traced from a later one either.
            untraceable = True
            compared.faults += untraced(walk, compared.proven, size, end)
    compared.faults += located(walk, found, end)
    return compared


def untraced(walk: RebuiltTree, proven: Sequence[int], size: int, end: int) -> list[Fault]:
    """Say how far it is known where records differ from a root to which no stored hashes lead."""
    if any((fault.first or 0) < size for fault in walk.faults) or (walk.miscounted and walk.miscounted[0] < size):
        return []  # a gap, or records out of place, which are told by their places
    first, last = max([walk.start, *proven]), min(size, end) - 1
    rest = "" if walk.start == 0 and size <= end else ", or the export's hashes of the rest of the log are wrong"
    if first > last:
        return [incomplete(f"its hashes of the log outside its records are not those of the checkpoint of {size}")]
    told = f"one or more were rewritten with all stored hashes, as the checkpoint of {size} records proves{rest}"
    return [Fault(FaultKind.HISTORY_REWRITTEN, first, last, told)]


def located(walk: RebuiltTree, found: TreeDifferences, end: int) -> list[Fault]:
    """Say what was found from signed roots downward. What a missing record explains is not said again."""
    faults = []
    gaps = fault_ranges(walk.faults)
    found.records = {
        place: truth for place, truth in found.records.items() if not gaps.intersects(range(place, place + 1))
    }
    found.subtrees = {node: truth for node, truth in found.subtrees.items() if not gaps.intersects(leaf_range(node))}
    for one, other in extract_exchanges(walk, found):
        faults.append(Fault(FaultKind.RECORD_MISPLACED, one, one, f"exchanged with record {other}"))
        faults.append(Fault(FaultKind.RECORD_MISPLACED, other, other, f"exchanged with record {one}"))
    for place in found.records:
        told = "its header or its ciphertext was changed after it was written"
        faults.append(Fault(FaultKind.RECORD_ALTERED, place, place, told))
    for node in found.subtrees:
        below = leaf_range(node)
        places, told = range(max(below.start, walk.start), min(below.stop, end)), "one or more were changed"
        told += " together with their stored hashes"
        told += "" if places == below else ", or the export's hashes of the rest of the log are wrong"
        faults.append(Fault(FaultKind.RECORD_ALTERED_WITHIN, places.start, places.stop - 1, told))
    return faults


def miscounted(walk: RebuiltTree, faults: Sequence[Fault], vouched: int) -> list[Fault]:
    """Say what it means that a record has more or fewer stored hashes than belong to its place."""
    known = fault_ranges(faults, FaultKind.RECORD_ALTERED, FaultKind.RECORD_MISPLACED, FaultKind.RECORD_MISSING)
    within = fault_ranges(faults, FaultKind.RECORD_ALTERED_WITHIN)
    found = []
    for place in walk.miscounted:
        here = range(place, place + 1)
        if known.intersects(here):
            continue
        if place < vouched and not within.intersects(here):
            found.append(Fault(FaultKind.HASH_ALTERED, place, place, HASH_ALTERED))
        else:
            told = "not the record that was written here: the hashes stored with it are those of another place"
            found.append(Fault(FaultKind.RECORD_MISPLACED, place, place, told))
    return found


def continued(walk: RebuiltTree, export: Export, accepted: Sequence[Checkpoint], faults: list[Fault]) -> list[int]:
    """Check that the newest checkpoint continues those that do not fall into the records; gives the sizes that hold."""
    proofs, proven = dict(export.consistency), []
    for checkpoint in accepted[:-1]:
        newest, size = accepted[-1], checkpoint.size
        if size in walk.roots or (size > walk.frontier.size and not export.after):
            continue  # compared with the records, or beyond a cut end, which is a fault already
        try:
            verify_consistency(size, newest.size, checkpoint.root, newest.root, proofs.get(size, ()))
        except ProofInvalid as error:
            why = str(error) if size in proofs else "the export has no consistency proof for it"
            told = f"the checkpoint of {size} records cannot be compared with the newest one: {why}"
            faults.append(Fault(FaultKind.CHECKPOINT_UNPROVEN, None, None, told))
        else:
            proven.append(size)
    return proven


def stored_hashes(walk: RebuiltTree, faults: Sequence[Fault], vouched: int) -> list[Fault]:
    """Say which stored hashes are wrong although the records below them are right, or nobody knows which of the two is."""
    found = []
    doubted = fault_ranges(faults)
    for node, places in differing(walk, doubted, leaves=True):
        if node.number < vouched:
            found.append(Fault(FaultKind.HASH_ALTERED, node.number, node.number, HASH_ALTERED))
        else:
            told = "its bytes and its stored hash do not fit, and no checkpoint that holds says which was changed"
            found.append(Fault(FaultKind.RECORD_ALTERED, places.start, places.start, told))
    # A hash above a record that was changed differs for that reason alone.
    doubted = fault_ranges([*faults, *(fault for fault in found if fault.kind is FaultKind.RECORD_ALTERED)])
    for node, _ in differing(walk, doubted, leaves=False):
        place = stored_position(node)[0]
        told = HASH_ALTERED if place < vouched else "the hashes stored with it are not those of the records before it"
        found.append(Fault(FaultKind.HASH_ALTERED, place, place, told))
    return found


def differing(walk: RebuiltTree, doubted: RangeSet, *, leaves: bool) -> list[tuple[Node, range]]:
    """Give the stored hashes that differ from the computed ones above records that are not doubted."""
    nodes = [(node, leaf_range(node)) for node in walk.differing if (node.level == 0) == leaves]
    return [(node, places) for node, places in nodes if not doubted.intersects(places)]


def retention(walk: RebuiltTree, offered: Sequence[RetentionProof], newest: Checkpoint | None) -> list[Fault]:
    """Demand a proven retention record for every ciphertext that is missing, and the header that it names."""
    faults, named = [], {}
    for retained in offered:
        try:
            named.update(removed_by(retained, newest))
        except RecordError as error:
            place, told = retained.record.index, f"it does not prove a retention: {error}"
            faults.append(Fault(FaultKind.RETENTION_REFUSED, place, place, told))
    for place, header_sha256 in walk.removed.items():
        if place not in named:
            told = "its ciphertext is missing, and no retention record names it"
            faults.append(Fault(FaultKind.CIPHERTEXT_MISSING, place, place, told))
        elif named[place] != header_sha256:
            told = "its header is not the one that the retention record names"
            faults.append(Fault(FaultKind.RECORD_ALTERED, place, place, told))
    return faults


def removed_by(retained: RetentionProof, newest: Checkpoint | None) -> dict[int, str]:
    """Give what a retention record removed: SHA-256 of the header by place; only from before itself."""
    leaf = retained.record.compute_leaf_hash()
    if newest is None or leaf is None:
        raise ProofInvalid("there is no checkpoint" if newest is None else "its own ciphertext is missing")
    verify_inclusion(retained.record.index, newest.size, leaf, retained.proof, newest.root)
    header = parse_header(retained.record.header)
    if header.kind != RETENTION_KIND:
        raise ProofInvalid(f"it is of kind {header.kind}, not {RETENTION_KIND}")
    return {each.index: each.header_sha256 for each in header.removed if each.index < retained.record.index}


def incomplete(told: str) -> Fault:
    """Say what the export lacks."""
    return Fault(FaultKind.EXPORT_INCOMPLETE, None, None, f"the export is incomplete: {told}")
