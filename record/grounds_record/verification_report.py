"""The report of a verification: which checkpoints are proven, and which records have which faults."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

_FAULTS_LISTED_MAX = 20


class FaultKind(str, Enum):
    """The kinds of faults.

    Most faults concern a range of records. In the comments, "each" means that the fault concerns every record of the
    range, and "within" means that it concerns at least one record of the range.
    """

    CHECKPOINT_REFUSED = (
        "CHECKPOINT_REFUSED"  # cannot be parsed, is not signed by the key, or belongs to a different log
    )
    CHECKPOINTS_DISAGREE = "CHECKPOINTS_DISAGREE"  # two signed checkpoints have the same size and different roots, so the log has two histories
    CHECKPOINT_UNPROVEN = (
        "CHECKPOINT_UNPROVEN"  # there is no valid proof that the newest checkpoint extends this checkpoint
    )
    EXPORT_INCOMPLETE = "EXPORT_INCOMPLETE"  # the export lacks hashes that the comparison needs
    RECORD_MISSING = "RECORD_MISSING"  # each
    RECORD_MISPLACED = "RECORD_MISPLACED"  # each: the record at this index was written at a different index
    RECORD_ALTERED = "RECORD_ALTERED"  # each
    RECORD_ALTERED_WITHIN = "RECORD_ALTERED_WITHIN"  # within: the stored hashes were changed too
    HISTORY_REWRITTEN = "HISTORY_REWRITTEN"  # within: all stored hashes match the records, but the signed root does not
    HASH_ALTERED = "HASH_ALTERED"  # each: the record is unchanged, but a hash stored with it was changed
    COLUMN_ALTERED = "COLUMN_ALTERED"  # each: the record is unchanged, but a column differs from its header
    CIPHERTEXT_MISSING = (
        "CIPHERTEXT_MISSING"  # each: the ciphertext is missing, and no retention record lists the record
    )
    COSIGNATURE_INVALID = "COSIGNATURE_INVALID"  # a cosignature by a witness that the auditor trusts does not verify
    COSIGNATURES_MISSING = "COSIGNATURES_MISSING"  # no proven checkpoint has enough cosignatures
    ACTIVATION_UNRECORDED = (
        "ACTIVATION_UNRECORDED"  # each: a decision names an activation that no earlier record states
    )
    RETENTION_REFUSED = "RETENTION_REFUSED"  # each: it was exported as a retention record, but this is not proven

    def __str__(self) -> str:
        """Return the value, so that format() returns it too (StrEnum needs Python 3.11)."""
        return str.__str__(self)


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding.

    Attributes:
        kind: The kind, for programs.
        first: Index of the first record that the fault concerns; None if it does not concern records.
        last: Index of the last record that the fault concerns (inclusive); None if `first` is None.
        detail: The explanation, for people.
    """

    kind: FaultKind
    first: int | None
    last: int | None
    detail: str

    def sentence(self) -> str:
        """Return the fault as a sentence that begins with the records that it concerns."""
        if self.first is None:
            return self.detail
        if self.first == self.last:
            return f"record {self.first}: {self.detail}"
        return f"records {self.first} to {self.last}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of a verification.

    Attributes:
        start: Index of the first record that was read.
        end: Index after the last record that was read.
        size: Number of records that the newest accepted checkpoint covers. No signature covers the records [size, end).
        proven: Sizes of the checkpoints that the records match, in ascending order.
        refuted: Sizes of the checkpoints that the records do not match, in ascending order.
        faults: All faults. Faults that do not concern records are first; the others are sorted by index.
        warnings: Sentences about records that are unchanged, but whose time is before the time of the preceding record.
        cosignatures: A sentence for each proven checkpoint that witnesses cosigned.
        activations: A sentence about the activations of bundles and policies among the records; "" if there are none.
    """

    start: int
    end: int
    size: int
    proven: tuple[int, ...]
    refuted: tuple[int, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...] = ()
    cosignatures: tuple[str, ...] = ()
    activations: str = ""

    @property
    def holds(self) -> bool:
        """Return whether there is no fault."""
        return not self.faults

    def sentences(self) -> tuple[str, ...]:
        """Return the report as sentences: a summary, at most 20 faults, at most 20 warnings, and the checkpoints."""
        lines = [fault.sentence() for fault in self.faults[:_FAULTS_LISTED_MAX]]
        if len(self.faults) > _FAULTS_LISTED_MAX:
            lines.append(f"and {len(self.faults) - _FAULTS_LISTED_MAX} more faults")
        lines += [f"warning: {warning}" for warning in self.warnings[:_FAULTS_LISTED_MAX]]
        if len(self.warnings) > _FAULTS_LISTED_MAX:
            lines.append(f"and {len(self.warnings) - _FAULTS_LISTED_MAX} more warnings")
        lines += [f"the checkpoint of {size} records holds" for size in self.proven]
        lines += self.cosignatures
        lines += [self.activations] if self.activations else []
        lines += [f"the checkpoint of {size} records does not hold" for size in self.refuted]
        if self.end > self.size:
            lines.append(f"no checkpoint covers the records {max(self.start, self.size)} to {self.end - 1} yet")
        records = f"{self.end - self.start} records, {self.start} up to {self.end}"
        warned = f", with {len(self.warnings)} warning{'s' if len(self.warnings) > 1 else ''}" if self.warnings else ""
        return (f"{records}: " + ("verified" if self.holds else "NOT verified") + warned, *lines)


def merge_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults sorted by index, without duplicates. Equal faults of adjacent records become one range."""
    merged: list[Fault] = []
    # Sort by kind and detail first, so that faults that can be merged are adjacent in the list.
    for fault in sorted(set(faults), key=lambda each: (each.kind, each.detail, _sort_index(each))):
        before = merged[-1] if merged else None
        if (
            before is not None
            and (before.kind, before.detail) == (fault.kind, fault.detail)
            and before.last is not None
            and fault.first == before.last + 1
            # Merging "within 0 to 3" and "within 4 to 7" into "within 0 to 7" would lose information.
            and fault.kind not in (FaultKind.RECORD_ALTERED_WITHIN, FaultKind.HISTORY_REWRITTEN)
        ):
            merged[-1] = replace(before, last=fault.last)
        else:
            merged.append(fault)
    return tuple(sorted(merged, key=lambda each: (_sort_index(each), each.kind)))


def _sort_index(fault: Fault) -> int:
    """Return the index by which a fault is sorted; -1 if the fault does not concern records."""
    return -1 if fault.first is None else fault.first


class RangeSet:
    """A set of record indices, stored as disjoint ranges so that looking up faults for millions of nodes is fast."""

    def __init__(self, ranges: Iterable[range]) -> None:
        # Ranges are sorted and disjoint, so a single binary search is sufficient.
        self._starts: list[int] = []
        self._stops: list[int] = []
        for each in sorted(ranges, key=lambda one: one.start):
            if self._stops and each.start <= self._stops[-1]:
                self._stops[-1] = max(self._stops[-1], each.stop)
            else:
                self._starts.append(each.start)
                self._stops.append(each.stop)

    def intersects(self, indices: range) -> bool:
        """Return whether any of the indices is in the set."""
        # Among the ranges that start before the end of the indices, the last range ends last, so only this range is
        # compared.
        last = bisect.bisect_left(self._starts, indices.stop) - 1
        return last >= 0 and self._stops[last] > indices.start


def fault_ranges(faults: Iterable[Fault], *kinds: FaultKind) -> RangeSet:
    """Return the records that the faults concern. If kinds are passed, faults of all other kinds are ignored."""
    return RangeSet(
        range(each.first, each.last + 1)
        for each in faults
        if each.first is not None and each.last is not None and (not kinds or each.kind in kinds)
    )
