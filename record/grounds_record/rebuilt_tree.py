"""One pass over exported records: grows their tree again and keeps where it differs from the hashes that were stored.

Holds 32 bytes for each node, so 64 a record: 320 MB for five million records.
"""

import hashlib
import itertools
from collections.abc import Collection, Iterable

from grounds_record.errors import HeaderInvalid
from grounds_record.export import StoredRecord
from grounds_record.header import parse_header
from grounds_record.header_columns import mismatched_columns
from grounds_record.merkle import HASH_BYTES, Frontier, Node, children, completed_node_count, covering_nodes, node_hash
from grounds_record.verification_report import Fault, FaultKind

UNKNOWN = bytes(HASH_BYTES)  # stands for the leaf hash of a record that is not there; no SHA-256 is known to be this
GAP_MAX = 1_000_000  # a longer gap is not walked over: one changed number would keep the verifier busy for ever
DIFFERING_MAX = 1_000_000  # more are not needed to say where a fault is, and would only fill the memory
DERIVED_MAX = 64  # of one node that ends after the records

NO_LEAF = "neither its ciphertext nor its stored hash is there"


class RebuiltTree:
    """The tree over the exported records, as they are now.

    Attributes:
        start: Place of the first record.
        frontier: Of all records so far.
        roots: The root after so many records, for each of the sizes that were asked for.
        removed: SHA-256 of the header of each record whose ciphertext is not there, by place.
        miscounted: Places of records with more or fewer stored hashes than belong to the place.
        differing: Stored hashes that are not the ones computed from the records.
        faults: What is wrong with the sequence itself.
        columns: What is wrong with columns by which records are found.
    """

    def __init__(self, start: int, before: tuple[bytes, ...], sizes: Collection[int]) -> None:
        self.start = start
        self.sizes = sizes
        self.frontier = Frontier(start, before)
        self.roots: dict[int, bytes] = {}
        self.removed: dict[int, str] = {}
        self.miscounted: list[int] = []
        self.differing: dict[Node, bytes] = {}
        self.faults: list[Fault] = []
        self.columns: list[Fault] = []
        # Complete subtrees that end within the records, by level, side by side from the first one; and a few others.
        self.levels: list[bytearray] = []
        self.derived: dict[Node, tuple[bytes, ...]] = {}
        self.outside = dict(zip(covering_nodes(0, start), before, strict=True))
        self.note_root()

    def read(self, records: Iterable[StoredRecord]) -> None:
        """Read all records."""
        for record in records:
            self.take(record)

    def take(self, record: StoredRecord) -> None:
        """Read one record."""
        place = self.frontier.size
        if record.index < place:
            self.fault(FaultKind.RECORD_MISPLACED, record.index, "there again, after later ones")
            return
        if record.index > place + GAP_MAX:
            self.fault(FaultKind.RECORD_MISPLACED, place, "the record in its place says that it is a far later one")
        elif record.index > place:
            self.faults.append(Fault(FaultKind.RECORD_MISSING, place, record.index - 1, "missing"))
            while self.frontier.size < record.index:
                self.append(UNKNOWN, ())
            place = record.index
        if len(record.nodes) != completed_node_count(place):
            self.miscounted.append(place)
        leaf = record.compute_leaf_hash()
        if leaf is None:
            self.removed[place] = hashlib.sha256(record.header).hexdigest()
            leaf = record.nodes[0] if record.nodes else UNKNOWN
            if len(leaf) != HASH_BYTES or leaf == UNKNOWN:
                self.fault(FaultKind.RECORD_MISSING, place, NO_LEAF)
                leaf = UNKNOWN
        self.compare_columns(place, record)
        self.append(leaf, record.nodes)

    def compare_columns(self, place: int, record: StoredRecord) -> None:
        """Compare the columns by which a record is found with its header."""
        if record.columns is None:
            return
        try:
            different = mismatched_columns(parse_header(record.header), record.columns)
        except HeaderInvalid:
            return  # its leaf hash will tell
        if different:
            names = ", ".join(different)
            told = f"what its row says of {names} is not what its header says"
            self.columns.append(Fault(FaultKind.COLUMN_ALTERED, place, place, told))

    def append(self, leaf: bytes, nodes: tuple[bytes, ...]) -> None:
        """Append a leaf, and compare what it completes with what was stored."""
        place = self.frontier.size
        self.frontier, completed = self.frontier.append(leaf)
        for level, computed in enumerate(completed):
            if level == len(self.levels):
                self.levels.append(bytearray())
            self.levels[level] += computed
            if level < len(nodes) and nodes[level] != computed and len(self.differing) < DIFFERING_MAX:
                self.differing[Node(level, place >> level)] = nodes[level]
        self.note_root()

    def extend(self, size: int, after: tuple[bytes, ...]) -> None:
        """Append the subtrees that cover the records from here up to `size`."""
        for node, subtree in zip(covering_nodes(self.frontier.size, size), after, strict=True):
            self.frontier, completed = self.frontier.append_subtree(node.level, subtree)
            last = self.frontier.size - 1
            self.outside[node] = subtree
            for level, computed in enumerate(completed[1:], start=node.level + 1):
                parent = Node(level, last >> level)
                self.outside[parent] = computed
                # No exported record has this node's stored hash, so it is told by what was stored below it.
                pairs = itertools.product(*(self.candidates(child) for child in children(parent)))
                self.derived[parent] = tuple({node_hash(*pair) for pair in pairs} - {computed})[:DERIVED_MAX]
        self.note_root()

    def note_root(self) -> None:
        """Keep the root if it is asked for."""
        if self.frontier.size in self.sizes:
            self.roots[self.frontier.size] = self.frontier.root()

    def computed(self, node: Node) -> bytes | None:
        """Give the hash of a subtree as the records are now; None if the export does not tell."""
        if node.level < len(self.levels):
            at = (node.number - (self.start >> node.level)) * HASH_BYTES
            if 0 <= at < len(self.levels[node.level]):
                return bytes(self.levels[node.level][at : at + HASH_BYTES])
        return self.outside.get(node)

    def candidates(self, node: Node) -> tuple[bytes, ...]:
        """Give what the hash of a subtree may have been: the computed one first, then what the stored ones say."""
        found = (self.computed(node), self.differing.get(node), *self.derived.get(node, ()))
        return tuple(each for each in found if each is not None and len(each) == HASH_BYTES)

    def fault(self, kind: FaultKind, place: int, detail: str) -> None:
        """Note what is wrong with one record."""
        self.faults.append(Fault(kind, place, place, detail))
