"""Verifies an exported range of the record log against signed checkpoints, with only the public key of the log.

`verify` has four steps:

- Compare the root of the tree over the records with the root of each checkpoint whose size is in the range. This
  detects whether any record was changed.
- If a root differs, search from the root down through the stored hashes (`tree_differences`). This locates the changed
  records.
- Compare the computed hashes with the stored hashes. This detects changed hashes of unchanged records.
- Compare the records without ciphertext with the proven retention records. This detects missing ciphertexts that
  retention did not remove.

If the export begins with the first record of the log, every decision is also compared with the activations of bundles and
policies before it. This detects a decision by a bundle or under a policy that nobody had activated.

If a record was rewritten together with every stored hash, the signed root still differs, but the changed record cannot
be identified. The report then states the range from the last proven checkpoint to the first refuted one. An auditor who
keeps more checkpoints gets a narrower range. A fault can hide other faults near it, so verify again after a repair.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.cosignature import WitnessKey, verify_cosignatures
from grounds_record.errors import ProofInvalid, RecordError, SignatureInvalid
from grounds_record.export import Export, RetentionProof
from grounds_record.header import RETENTION_KIND, parse_header
from grounds_record.key_history import LogKeys, trace_keys
from grounds_record.merkle import (
    Node,
    covering_nodes,
    leaf_range,
    stored_position,
    verify_consistency,
    verify_inclusion,
)
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

_HASH_ALTERED = "the record is unchanged, but the hashes stored with it were changed"
_REST_DOUBTED = ", or the export contains wrong hashes of the rest of the log"


@dataclass(frozen=True, slots=True)
class CosignatureRule:
    """The cosignatures that a verification requires.

    Attributes:
        witnesses: Public keys of the witnesses that the auditor trusts.
        quorum: Number of these witnesses that must have cosigned the same proven checkpoint.
    """

    witnesses: tuple[WitnessKey, ...]
    quorum: int


def verify(
    export: Export, checkpoints: Sequence[str], key: LogKeys, cosignatures: CosignatureRule | None = None
) -> VerificationReport:
    """Verify that the exported records are the records that the checkpoints cover, and locate differences.

    Args:
        export: The exported records and hashes, which are not trusted. The records are iterated once.
        checkpoints: The log's newest checkpoint and the checkpoints that the auditor kept, as signed notes in any
            order.
        key: A public key of the log. The name of the key is the log's origin. The key rotations in the export lead from
            this key to the keys that the log had before and after it.
        cosignatures: The cosignatures that a proven checkpoint must have; None if no cosignature is required.

    Returns:
        The report. Invalid content of the export does not raise an error; the report lists it as a fault.
    """
    faults: list[Fault] = []
    try:
        key = trace_keys(key, export.key_rotations)
    except RecordError as error:
        faults.append(Fault(FaultKind.CHECKPOINT_REFUSED, None, None, f"a key rotation is rejected: {error}"))
    accepted = _accept_checkpoints(checkpoints, key, faults)
    newest = accepted[-1] if accepted else None
    hash_count = len(covering_nodes(0, export.start))
    if len(export.before) != hash_count:
        faults.append(_incomplete(f"it must contain {hash_count} hashes of the log before its first record"))
        return VerificationReport(export.start, export.start, 0, (), (), tuple(faults))
    tree = RebuiltTree(export.start, export.before, {checkpoint.size for checkpoint in accepted})
    tree.read_records(export.records)
    end = tree.frontier.size
    if newest is not None:
        _extend_tree(tree, newest.size, export.after)
    comparison = _compare_roots(tree, accepted, end)
    faults += tree.faults + tree.column_faults + comparison.faults
    # The order matters, because each step omits what the faults of earlier steps explain.
    faults += _miscounted_faults(tree, faults, comparison.vouched)
    faults += _stored_hash_faults(tree, faults, comparison.vouched)
    faults += _retention_faults(tree, export.retentions, newest)
    # If any record is missing or altered, it may be the activation that a decision names.
    faults += [] if faults else tree.activations.faults
    proven = sorted(comparison.proven + _prove_other_checkpoints(tree, export, accepted, faults))
    size = newest.size if newest else 0
    cosigned: tuple[str, ...] = ()
    if cosignatures is not None:
        cosigned = _check_cosignatures(checkpoints, key, cosignatures, proven, faults)
    return VerificationReport(
        export.start,
        end,
        size,
        tuple(proven),
        tuple(comparison.refuted),
        merge_faults(faults),
        tuple(tree.warnings),
        cosigned,
        tree.activations.sentence(),
    )


@dataclass(slots=True)
class _RootComparison:
    """The result of comparing the records with the signed roots.

    Attributes:
        proven: Sizes of the checkpoints whose root is the root of the exported records.
        refuted: Sizes of the checkpoints whose root is not the root of the exported records.
        vouched: A signed root proves all records before this index, except for the records in `faults`.
        faults: Faults of records that differ from the records that a root covers.
    """

    proven: list[int] = field(default_factory=list)
    refuted: list[int] = field(default_factory=list)
    vouched: int = 0
    faults: list[Fault] = field(default_factory=list)


def _accept_checkpoints(notes: Sequence[str], key: LogKeys, faults: list[Fault]) -> list[Checkpoint]:
    """Return one valid checkpoint of each size in ascending order; add faults for invalid and contradicting ones."""
    accepted: dict[int, Checkpoint] = {}
    for number, note in enumerate(notes, start=1):
        try:
            checkpoint = open_checkpoint(note, key)
        except RecordError as error:
            detail = f"checkpoint {number} is rejected: {error}"
            faults.append(Fault(FaultKind.CHECKPOINT_REFUSED, None, None, detail))
            continue
        # Two signed checkpoints of the same size with different roots prove that the owner of the key signed two
        # histories.
        if accepted.setdefault(checkpoint.size, checkpoint).root != checkpoint.root:
            detail = f"two signed checkpoints of {checkpoint.size} records have different roots, so the log has two histories"
            faults.append(Fault(FaultKind.CHECKPOINTS_DISAGREE, None, None, detail))
    if not accepted:
        faults.append(Fault(FaultKind.CHECKPOINT_REFUSED, None, None, "there is no checkpoint to verify against"))
    return [accepted[size] for size in sorted(accepted)]


def _extend_tree(tree: RebuiltTree, size: int, after: tuple[bytes, ...]) -> None:
    """Extend the tree from the end of the records to the size of the newest checkpoint."""
    end = tree.frontier.size
    if size < tree.start:
        tree.faults.append(
            _incomplete(f"its first record is after the {size} records that the newest checkpoint covers")
        )
    if end >= size:
        return
    hash_count = len(covering_nodes(end, size))
    if not after:
        detail = f"missing at the end of the log; the checkpoint of {size} records covers it"
        tree.faults.append(Fault(FaultKind.RECORD_MISSING, end, size - 1, detail))
    elif len(after) != hash_count:
        tree.faults.append(_incomplete(f"it must contain {hash_count} hashes for the records {end} to {size - 1}"))
    else:
        tree.extend(size, after)


def _compare_roots(tree: RebuiltTree, accepted: Sequence[Checkpoint], end: int) -> _RootComparison:
    """Compare the tree with the signed roots in ascending order of size.

    `end` is the index after the last exported record.
    """
    comparison, differences, is_untraceable = _RootComparison(), TreeDifferences(), False
    for checkpoint in accepted:
        size, root = checkpoint.size, tree.roots.get(checkpoint.size)
        if root is None:
            continue  # the size is outside the range; `_prove_other_checkpoints` verifies this checkpoint
        if root == checkpoint.root:
            comparison.proven.append(size)
            comparison.vouched = size
            continue
        comparison.refuted.append(size)
        if locate_differences(tree, size, checkpoint.root, differences):
            comparison.vouched = size
        elif not is_untraceable:
            # Every larger root covers the same records, so the difference cannot be traced from a larger root either.
            # Therefore only the first such root yields a range.
            is_untraceable = True
            comparison.faults += _untraceable_faults(tree, comparison.proven, size, end)
    comparison.faults += _difference_faults(tree, differences, end)
    return comparison


def _untraceable_faults(tree: RebuiltTree, proven: Sequence[int], size: int, end: int) -> list[Fault]:
    """Return a fault with the range of the changed records for a signed root to which the stored hashes do not lead."""
    has_gap = any((fault.first or 0) < size for fault in tree.faults)
    has_moved = bool(tree.miscounted) and tree.miscounted[0] < size
    if has_gap or has_moved:
        return []  # missing or moved records explain the difference, and have their own faults
    # All records that the last proven checkpoint covers are unchanged, so the range begins after them.
    first, last = max([tree.start, *proven]), min(size, end) - 1
    if first > last:
        return [
            _incomplete(f"its hashes of the log outside its records do not lead to the checkpoint of {size} records")
        ]
    rest = "" if tree.start == 0 and size <= end else _REST_DOUBTED
    detail = f"one or more were rewritten with all stored hashes, as the checkpoint of {size} records shows{rest}"
    return [Fault(FaultKind.HISTORY_REWRITTEN, first, last, detail)]


def _difference_faults(tree: RebuiltTree, differences: TreeDifferences, end: int) -> list[Fault]:
    """Return the faults for the located differences that missing records do not explain."""
    faults = []
    gaps = fault_ranges(tree.faults)
    differences.records = {
        index: truth for index, truth in differences.records.items() if not gaps.intersects(range(index, index + 1))
    }
    differences.subtrees = {
        node: truth for node, truth in differences.subtrees.items() if not gaps.intersects(leaf_range(node))
    }
    for one, other in extract_exchanges(tree, differences):
        faults.append(Fault(FaultKind.RECORD_MISPLACED, one, one, f"exchanged with record {other}"))
        faults.append(Fault(FaultKind.RECORD_MISPLACED, other, other, f"exchanged with record {one}"))
    for index in differences.records:
        detail = "its header or its ciphertext was changed"
        faults.append(Fault(FaultKind.RECORD_ALTERED, index, index, detail))
    for node in differences.subtrees:
        below = leaf_range(node)
        # If a subtree extends beyond the exported records, the hashes in the export may be wrong instead of the
        # records.
        exported = range(max(below.start, tree.start), min(below.stop, end))
        rest = "" if exported == below else _REST_DOUBTED
        detail = f"one or more were changed together with their stored hashes{rest}"
        faults.append(Fault(FaultKind.RECORD_ALTERED_WITHIN, exported.start, exported.stop - 1, detail))
    return faults


def _miscounted_faults(tree: RebuiltTree, faults: Sequence[Fault], vouched: int) -> list[Fault]:
    """Return the faults of records whose number of stored hashes is wrong for their index."""
    explained = fault_ranges(faults, FaultKind.RECORD_ALTERED, FaultKind.RECORD_MISPLACED, FaultKind.RECORD_MISSING)
    within = fault_ranges(faults, FaultKind.RECORD_ALTERED_WITHIN)
    found = []
    for index in tree.miscounted:
        here = range(index, index + 1)
        if explained.intersects(here):
            continue
        # If a signed root proves the record, only the hashes stored with it were changed.
        if index < vouched and not within.intersects(here):
            found.append(Fault(FaultKind.HASH_ALTERED, index, index, _HASH_ALTERED))
        else:
            detail = (
                "not the record that was written at this index: the hashes stored with it belong to a different index"
            )
            found.append(Fault(FaultKind.RECORD_MISPLACED, index, index, detail))
    return found


def _stored_hash_faults(tree: RebuiltTree, faults: Sequence[Fault], vouched: int) -> list[Fault]:
    """Return the faults of stored hashes that differ from the computed ones and that no other fault explains."""
    found = []
    explained = fault_ranges(faults)
    for node, leaves in _unexplained_mismatches(tree, explained, leaves=True):
        if node.number < vouched:
            found.append(Fault(FaultKind.HASH_ALTERED, node.number, node.number, _HASH_ALTERED))
        else:
            detail = "it does not match its stored hash, and no checkpoint shows which of the two was changed"
            found.append(Fault(FaultKind.RECORD_ALTERED, leaves.start, leaves.start, detail))
    # The hashes of all nodes above a changed record differ because of that record.
    explained = fault_ranges([*faults, *(fault for fault in found if fault.kind is FaultKind.RECORD_ALTERED)])
    for node, _ in _unexplained_mismatches(tree, explained, leaves=False):
        index = stored_position(node)[0]
        detail = _HASH_ALTERED if index < vouched else "the hashes stored with it do not match the records before it"
        found.append(Fault(FaultKind.HASH_ALTERED, index, index, detail))
    return found


def _unexplained_mismatches(tree: RebuiltTree, explained: RangeSet, *, leaves: bool) -> list[tuple[Node, range]]:
    """Return the nodes, with their leaves, whose stored hash differs although no record below the node has a fault."""
    nodes = [(node, leaf_range(node)) for node in tree.mismatches if (node.level == 0) == leaves]
    return [(node, below) for node, below in nodes if not explained.intersects(below)]


def _retention_faults(
    tree: RebuiltTree, retentions: Sequence[RetentionProof], newest: Checkpoint | None
) -> list[Fault]:
    """Return the faults of unproven retention records and of missing ciphertexts that no retention record explains."""
    faults, header_digests = [], {}
    for retention in retentions:
        try:
            header_digests.update(_removed_headers(retention, newest))
        except RecordError as error:
            index, detail = retention.record.index, f"it is not a proven retention record: {error}"
            faults.append(Fault(FaultKind.RETENTION_REFUSED, index, index, detail))
    for index, header_sha256 in tree.removed.items():
        if index not in header_digests:
            detail = "its ciphertext is missing, and no retention record lists it"
            faults.append(Fault(FaultKind.CIPHERTEXT_MISSING, index, index, detail))
        elif header_digests[index] != header_sha256:
            # Without the ciphertext, the leaf hash cannot prove the header. The retention record proves it instead.
            detail = "its header differs from the header that the retention record lists"
            faults.append(Fault(FaultKind.RECORD_ALTERED, index, index, detail))
    return faults


def _removed_headers(retention: RetentionProof, newest: Checkpoint | None) -> dict[int, str]:
    """Return the SHA-256 of the header of each record that a retention record removed, by index.

    Raises:
        RecordError: The record is not a retention record, or the newest checkpoint does not cover it.
    """
    leaf = retention.record.compute_leaf_hash()
    if newest is None or leaf is None:
        raise ProofInvalid("there is no checkpoint" if newest is None else "its own ciphertext is missing")
    verify_inclusion(retention.record.index, newest.size, leaf, retention.proof, newest.root)
    header = parse_header(retention.record.header)
    if header.kind != RETENTION_KIND:
        raise ProofInvalid(f"its kind is {header.kind}, expected {RETENTION_KIND}")
    # A retention record can only list records that precede it.
    return {each.index: each.header_sha256 for each in header.removed if each.index < retention.record.index}


def _prove_other_checkpoints(
    tree: RebuiltTree, export: Export, accepted: Sequence[Checkpoint], faults: list[Fault]
) -> list[int]:
    """Verify that the newest checkpoint extends those outside the range; return the sizes of the proven checkpoints."""
    proofs, proven = dict(export.consistency), []
    for checkpoint in accepted[:-1]:
        newest, size = accepted[-1], checkpoint.size
        if size in tree.roots or (size > tree.frontier.size and not export.after):
            # It was already compared with the records, or it is beyond the end of a truncated log, which is a separate
            # fault.
            continue
        try:
            verify_consistency(size, newest.size, checkpoint.root, newest.root, proofs.get(size, ()))
        except ProofInvalid as error:
            why = str(error) if size in proofs else "the export has no consistency proof for it"
            detail = f"it is not proven that the newest checkpoint extends the checkpoint of {size} records: {why}"
            faults.append(Fault(FaultKind.CHECKPOINT_UNPROVEN, None, None, detail))
        else:
            proven.append(size)
    return proven


def _check_cosignatures(
    notes: Sequence[str], key: LogKeys, rule: CosignatureRule, proven: Sequence[int], faults: list[Fault]
) -> tuple[str, ...]:
    """Check that enough witnesses cosigned a proven checkpoint, and add faults if not.

    Return a sentence for each proven checkpoint that witnesses cosigned.
    """
    times: dict[int, dict[str, int]] = {}
    for note in notes:
        with suppress(RecordError):  # `_accept_checkpoints` reports a checkpoint that cannot be parsed or verified
            size = open_checkpoint(note, key).size
            try:
                found = verify_cosignatures(note, rule.witnesses)
            except SignatureInvalid as error:
                faults.append(
                    Fault(FaultKind.COSIGNATURE_INVALID, None, None, f"the checkpoint of {size} records: {error}")
                )
                continue
            times.setdefault(size, {}).update(found)
    if not any(len(times.get(size, {})) >= rule.quorum for size in proven):
        names = ", ".join(witness.name for witness in rule.witnesses)
        detail = f"no checkpoint that holds is cosigned by at least {rule.quorum} of the witnesses {names}"
        faults.append(Fault(FaultKind.COSIGNATURES_MISSING, None, None, detail))
    return tuple(
        f"the checkpoint of {size} records is cosigned by {', '.join(sorted(times[size]))}"
        for size in sorted(times)
        if times[size] and size in proven
    )


def _incomplete(detail: str) -> Fault:
    """Return the fault of an export whose hashes are missing or wrong."""
    return Fault(FaultKind.EXPORT_INCOMPLETE, None, None, f"the export is incomplete: {detail}")
