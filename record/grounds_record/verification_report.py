"""The report of a verification: which checkpoints are proven, and which records are wrong in what way."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

_FAULTS_LISTED_MAX = 20


class FaultKind(str, Enum):
    """The kinds of faults.

    A fault names a range of records. "Each" means that every record of the range is concerned, "within" that at least
    one of them is.
    """

    CHECKPOINT_REFUSED = "CHECKPOINT_REFUSED"  # not readable, not signed by the key, or of another log
    CHECKPOINTS_DISAGREE = "CHECKPOINTS_DISAGREE"  # same size, other roots, both signed: the log has two histories
    CHECKPOINT_UNPROVEN = "CHECKPOINT_UNPROVEN"  # no valid proof that the newest checkpoint extends it
    EXPORT_INCOMPLETE = "EXPORT_INCOMPLETE"  # hashes are missing without which nothing can be compared
    RECORD_MISSING = "RECORD_MISSING"  # each
    RECORD_MISPLACED = "RECORD_MISPLACED"  # each: a record, but not the one that was written at this index
    RECORD_ALTERED = "RECORD_ALTERED"  # each
    RECORD_ALTERED_WITHIN = "RECORD_ALTERED_WITHIN"  # within: the hashes stored below were changed too
    HISTORY_REWRITTEN = "HISTORY_REWRITTEN"  # within: all stored hashes match; only the signed root does not
    HASH_ALTERED = "HASH_ALTERED"  # each: the record is right, a hash stored with it is not
    COLUMN_ALTERED = "COLUMN_ALTERED"  # each: the record is right, a column by which it is found is not
    CIPHERTEXT_MISSING = "CIPHERTEXT_MISSING"  # each: no retention record accounts for it
    RETENTION_REFUSED = "RETENTION_REFUSED"  # each: exported as a retention record, but not proven to be one

    def __str__(self) -> str:
        """Return the value, as StrEnum does; format() follows."""
        return str.__str__(self)


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding.

    Attributes:
        kind: For programs.
        first: Index of the first record concerned; None if the fault is about no record.
        last: Index of the last one, inclusive; None if `first` is.
        detail: For people; equal for all records concerned.
    """

    kind: FaultKind
    first: int | None
    last: int | None
    detail: str

    def sentence(self) -> str:
        """Return the fault as a sentence, with the records concerned in front."""
        if self.first is None:
            return self.detail
        if self.first == self.last:
            return f"record {self.first}: {self.detail}"
        return f"records {self.first} to {self.last}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of a verification.

    Attributes:
        start: Index of the first record read.
        end: Index after the last one.
        size: Number of records that the newest accepted checkpoint covers; no signature covers those from here to `end`.
        proven: Sizes of the checkpoints with which everything agrees, ascending.
        refuted: Sizes of the checkpoints with which the records do not agree, ascending.
        faults: Sorted by index; those about no record first.
    """

    start: int
    end: int
    size: int
    proven: tuple[int, ...]
    refuted: tuple[int, ...]
    faults: tuple[Fault, ...]

    @property
    def holds(self) -> bool:
        """Return whether there is no fault."""
        return not self.faults

    def sentences(self) -> tuple[str, ...]:
        """Return the report as sentences, one finding each; of more than 20 faults the first 20."""
        lines = [fault.sentence() for fault in self.faults[:_FAULTS_LISTED_MAX]]
        if len(self.faults) > _FAULTS_LISTED_MAX:
            lines.append(f"and {len(self.faults) - _FAULTS_LISTED_MAX} more faults")
        lines += [f"the checkpoint of {size} records holds" for size in self.proven]
        lines += [f"the checkpoint of {size} records does not hold" for size in self.refuted]
        if self.end > self.size:
            lines.append(f"no checkpoint covers the records from {max(self.start, self.size)} on yet")
        records = f"{self.end - self.start} records, {self.start} up to {self.end}"
        return (f"{records}: " + ("verified" if self.holds else "NOT verified"), *lines)


def merge_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults sorted by index, without duplicates, and with equal faults of neighbouring records merged."""
    merged: list[Fault] = []
    # Sorted by kind and detail first, so that faults that can be merged are neighbours in the list.
    for fault in sorted(set(faults), key=lambda each: (each.kind, each.detail, _sort_index(each))):
        before = merged[-1] if merged else None
        if (
            before is not None
            and (before.kind, before.detail) == (fault.kind, fault.detail)
            and before.last is not None
            and fault.first == before.last + 1
            # "One of 0 to 3" and "one of 4 to 7" is more than "one of 0 to 7".
            and fault.kind not in (FaultKind.RECORD_ALTERED_WITHIN, FaultKind.HISTORY_REWRITTEN)
        ):
            merged[-1] = replace(before, last=fault.last)
        else:
            merged.append(fault)
    return tuple(sorted(merged, key=lambda each: (_sort_index(each), each.kind)))


def _sort_index(fault: Fault) -> int:
    """Return the index by which a fault is sorted; -1 if it is about no record."""
    return -1 if fault.first is None else fault.first


class RangeSet:
    """A set of record indices, stored as disjoint ranges: thousands of faults are looked up for millions of nodes."""

    def __init__(self, ranges: Iterable[range]) -> None:
        # Sorted by start, overlapping and adjacent ranges merged, so one binary search decides.
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
        # Of the ranges that start before the indices end, the last one reaches the farthest.
        last = bisect.bisect_left(self._starts, indices.stop) - 1
        return last >= 0 and self._stops[last] > indices.start


def fault_ranges(faults: Iterable[Fault], *kinds: FaultKind) -> RangeSet:
    """Return the records that faults of these kinds, or of all kinds if none is given, are about."""
    return RangeSet(
        range(each.first, each.last + 1)
        for each in faults
        if each.first is not None and each.last is not None and (not kinds or each.kind in kinds)
    )
