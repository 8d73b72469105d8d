"""The rebuilt tree: the Merkle tree computed from exported records, and the stored hashes that differ from it.

The tree is computed in one pass over the records. It needs 32 bytes of memory per node, which is 64 bytes per record,
or 320 MB for five million records.
"""

import datetime as dt
import hashlib
import itertools
from collections.abc import Collection, Iterable

from grounds_record.activations import ActivationCheck
from grounds_record.errors import HeaderInvalid
from grounds_record.export import StoredRecord
from grounds_record.header import Header, mismatched_columns, parse_header
from grounds_record.merkle import HASH_BYTES, Frontier, Node, children, completed_node_count, covering_nodes, node_hash
from grounds_record.verification_report import Fault, FaultKind

_UNKNOWN_LEAF = bytes(HASH_BYTES)  # used as the leaf hash of a missing record; no data with this SHA-256 is known
# A gap is filled leaf by leaf. Without a limit, one changed index could keep the verifier busy for years.
_GAP_MAX = 1_000_000
_MISMATCHES_MAX = (
    1_000_000  # limit of stored mismatches, which bounds the memory; a million are enough to locate faults
)
# Several servers append to one log, so the times of adjacent records may be in the wrong order by less than this.
_ORDER_TOLERANCE_US = 5 * 60 * 1_000_000
_WARNINGS_MAX = 1000
_DERIVED_MAX = 64  # limit of candidates for one node that ends after the exported records


class RebuiltTree:
    """The Merkle tree computed from the exported records.

    Attributes:
        start: Index of the first record.
        frontier: Frontier of the tree over all records that were read so far.
        roots: Computed roots by tree size, for each requested size that was reached.
        removed: SHA-256 of the header of each record without ciphertext, by index.
        miscounted: Indices of the records whose number of stored hashes is not the number of nodes that they complete.
        mismatches: Stored hashes that differ from the computed hashes, by node.
        faults: Faults in the sequence of records: missing, repeated and misplaced records.
        column_faults: Faults of columns that differ from the header.
        activations: The activations of bundles and policies, and the decisions that contradict them.
        warnings: Sentences about records whose time is before that of the preceding record. Their bytes are unchanged.
    """

    def __init__(self, start: int, before: tuple[bytes, ...], sizes: Collection[int]) -> None:
        """Create the tree over the records before the range.

        Args:
            start: Index of the first record of the range.
            before: Hashes of `covering_nodes(0, start)`.
            sizes: Tree sizes for which `roots` must contain the root.
        """
        self.start = start
        self.frontier = Frontier(start, before)
        self.roots: dict[int, bytes] = {}
        self.removed: dict[int, str] = {}
        self.miscounted: list[int] = []
        self.mismatches: dict[Node, bytes] = {}
        self.faults: list[Fault] = []
        self.column_faults: list[Fault] = []
        self.activations = ActivationCheck(is_complete=start == 0)
        self.warnings: list[str] = []
        self._previous: Header | None = None  # header of the preceding record
        self._sizes = sizes
        # Computed hashes of the nodes that end within the exported records: for each level, one concatenation of
        # hashes.
        self._levels: list[bytearray] = []
        # `_outside` has the computed hashes of nodes that end before or after the exported records. `_derived` has the
        # other possible hashes of these nodes, which follow from stored hashes.
        self._outside = dict(zip(covering_nodes(0, start), before, strict=True))
        self._derived: dict[Node, tuple[bytes, ...]] = {}
        self._save_root()

    def read_records(self, records: Iterable[StoredRecord]) -> None:
        """Append all records."""
        for record in records:
            self._append_record(record)

    def extend(self, size: int, after: tuple[bytes, ...]) -> None:
        """Append the subtrees that cover the records [end, size), which were not exported."""
        for node, subtree in zip(covering_nodes(self.frontier.size, size), after, strict=True):
            self.frontier, completed = self.frontier.append_subtree(node.level, subtree)
            last = self.frontier.size - 1
            self._outside[node] = subtree
            for level, computed in enumerate(completed[1:], start=node.level + 1):
                parent = Node(level, last >> level)
                self._outside[parent] = computed
                # The stored hash of this node belongs to a record that was not exported. So the possible hashes of this
                # node are computed from all combinations of the possible hashes of its children.
                pairs = itertools.product(*(self.candidates(child) for child in children(parent)))
                self._derived[parent] = tuple({node_hash(*pair) for pair in pairs} - {computed})[:_DERIVED_MAX]
        self._save_root()

    def computed_hash(self, node: Node) -> bytes | None:
        """Return the hash of a node computed from the exported records; None if the export does not determine it."""
        if node.level < len(self._levels):
            # The first node of each level is the node that covers the first exported record.
            offset = (node.number - (self.start >> node.level)) * HASH_BYTES
            if 0 <= offset < len(self._levels[node.level]):
                return bytes(self._levels[node.level][offset : offset + HASH_BYTES])
        return self._outside.get(node)

    def candidates(self, node: Node) -> tuple[bytes, ...]:
        """Return the possible original hashes of a node: the computed one, and those that follow from stored hashes."""
        hashes = (self.computed_hash(node), self.mismatches.get(node), *self._derived.get(node, ()))
        return tuple(each for each in hashes if each is not None and len(each) == HASH_BYTES)

    def _append_record(self, record: StoredRecord) -> None:
        """Append one record, and fill a gap before the record with unknown leaves."""
        index = self.frontier.size
        if record.index < index:
            self._add_fault(FaultKind.RECORD_MISPLACED, record.index, "it is repeated after later records")
            return
        if record.index > index + _GAP_MAX:
            self._add_fault(FaultKind.RECORD_MISPLACED, index, "the record at this position has a far higher index")
        elif record.index > index:
            self.faults.append(Fault(FaultKind.RECORD_MISSING, index, record.index - 1, "missing"))
            # Unknown leaves keep the later records at their index, so that the later records can still be compared.
            while self.frontier.size < record.index:
                self._append_leaf(_UNKNOWN_LEAF, ())
            index = record.index
        # The index alone determines how many hashes are stored with a record. So this check usually detects a moved
        # record.
        if len(record.nodes) != completed_node_count(index):
            self.miscounted.append(index)
        self._check_header(index, record)
        self._append_leaf(self._leaf_hash(index, record), record.nodes)

    def _leaf_hash(self, index: int, record: StoredRecord) -> bytes:
        """Return the computed leaf hash of a record, or the stored leaf hash if the ciphertext was removed."""
        computed = record.compute_leaf_hash()
        if computed is not None:
            return computed
        # Without the ciphertext, only the stored hash remains. `verify` later compares the header with the retention
        # record.
        self.removed[index] = hashlib.sha256(record.header).hexdigest()
        stored = record.nodes[0] if record.nodes else _UNKNOWN_LEAF
        if len(stored) != HASH_BYTES or stored == _UNKNOWN_LEAF:
            self._add_fault(FaultKind.RECORD_MISSING, index, "both its ciphertext and its stored hash are missing")
            return _UNKNOWN_LEAF
        return stored

    def _check_header(self, index: int, record: StoredRecord) -> None:
        """Compare the columns of a record with its header, and its time with that of the preceding record."""
        try:
            header = parse_header(record.header)
        except HeaderInvalid:
            return  # the leaf hash reveals a changed header
        self._compare_times(index, header)
        self.activations.add(index, header)
        different = mismatched_columns(header, record.columns) if record.columns is not None else ()
        if different:
            detail = f"its columns {', '.join(different)} differ from its header"
            self.column_faults.append(Fault(FaultKind.COLUMN_ALTERED, index, index, detail))

    def _compare_times(self, index: int, header: Header) -> None:
        """Add a warning if the time of a record is before that of the preceding record."""
        previous, self._previous = self._previous, header
        if previous is None or header.time_us >= previous.time_us - _ORDER_TOLERANCE_US:
            return
        if len(self.warnings) < _WARNINGS_MAX:
            here, before = (_time_text(each.time_us) for each in (header, previous))
            self.warnings.append(
                f"record {index}: its time is {here}, but the record before it is of {before}: a clock was wrong"
            )

    def _append_leaf(self, leaf: bytes, nodes: tuple[bytes, ...]) -> None:
        """Append a leaf, and compare the hashes of the nodes that it completes with the stored hashes."""
        index = self.frontier.size
        self.frontier, completed = self.frontier.append(leaf)
        for level, computed in enumerate(completed):
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += computed
            if level < len(nodes) and nodes[level] != computed and len(self.mismatches) < _MISMATCHES_MAX:
                self.mismatches[Node(level, index >> level)] = nodes[level]
        self._save_root()

    def _save_root(self) -> None:
        """Save the root of the current size if the caller requested this size."""
        if self.frontier.size in self._sizes:
            self.roots[self.frontier.size] = self.frontier.root()

    def _add_fault(self, kind: FaultKind, index: int, detail: str) -> None:
        """Add a fault of one record."""
        self.faults.append(Fault(kind, index, index, detail))


def _time_text(time_us: int) -> str:
    """Return microseconds since 1970 as text, to the second."""
    try:
        return f"{dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=time_us):%Y-%m-%d %H:%M:%S} UTC"  # noqa: DTZ001 - shown as UTC
    except OverflowError:
        return f"{time_us} microseconds after 1970"
