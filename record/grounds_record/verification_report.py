"""What a verification found: what holds, and if not everything does, which record is wrong and how."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

_FAULTS_LISTED_MAX = 20


class FaultKind(str, Enum):
    """What can be found. Where it says "each", every record from first to last is meant; "within": at least one of them."""

    CHECKPOINT_REFUSED = "CHECKPOINT_REFUSED"  # not readable, not signed by the key, or of another log
    CHECKPOINTS_DISAGREE = "CHECKPOINTS_DISAGREE"  # two of one size, both signed: the log's owner shows two histories
    CHECKPOINT_UNPROVEN = "CHECKPOINT_UNPROVEN"  # no valid proof that the newest one continues it
    EXPORT_INCOMPLETE = "EXPORT_INCOMPLETE"  # lacks hashes without which nothing can be compared
    RECORD_MISSING = "RECORD_MISSING"  # each
    RECORD_MISPLACED = "RECORD_MISPLACED"  # each: a record, but not the one that was written here
    RECORD_ALTERED = "RECORD_ALTERED"  # each
    RECORD_ALTERED_WITHIN = "RECORD_ALTERED_WITHIN"  # within: the hashes below were changed as well
    HISTORY_REWRITTEN = "HISTORY_REWRITTEN"  # within: all stored hashes fit; only the signed root does not
    HASH_ALTERED = "HASH_ALTERED"  # each: the record is right, a hash stored with it is not
    COLUMN_ALTERED = "COLUMN_ALTERED"  # each: the record is right, a column by which it is found is not
    CIPHERTEXT_MISSING = "CIPHERTEXT_MISSING"  # each: and no retention record says why
    RETENTION_REFUSED = "RETENTION_REFUSED"  # each: offered as a retention record, but not proven to be one

    __str__ = str.__str__  # as enum.StrEnum, which needs Python 3.11


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold.

    Attributes:
        kind: For programs.
        first: The first record that it is about, by its place from 0; None if it is about no record.
        last: The last one, first included.
        detail: For people; the same for every record that it is about.
    """

    kind: FaultKind
    first: int | None
    last: int | None
    detail: str

    def sentence(self) -> str:
        """Say it, with the record's place in front."""
        if self.first is None:
            return self.detail
        if self.first == self.last:
            return f"record {self.first}: {self.detail}"
        return f"records {self.first} to {self.last}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The outcome of a verification.

    Attributes:
        start: Place of the first record that was read.
        end: Place after the last one.
        size: Records that the newest accepted checkpoint covers; those from here to `end` no signature covers yet.
        proven: Sizes of the checkpoints with which everything agrees, ascending.
        refuted: Sizes of the checkpoints with which the records do not agree, ascending.
        faults: What is wrong, by place; those about no record first.
    """

    start: int
    end: int
    size: int
    proven: tuple[int, ...]
    refuted: tuple[int, ...]
    faults: tuple[Fault, ...]

    @property
    def holds(self) -> bool:
        """Tell whether nothing at all is wrong."""
        return not self.faults

    def sentences(self) -> tuple[str, ...]:
        """Say what holds and what does not, one fact a line; of more than 20 faults the first 20."""
        told = [fault.sentence() for fault in self.faults[:_FAULTS_LISTED_MAX]]
        if len(self.faults) > _FAULTS_LISTED_MAX:
            told.append(f"and {len(self.faults) - _FAULTS_LISTED_MAX} more faults")
        read = f"{self.end - self.start} records, {self.start} up to {self.end}"
        told += [f"the checkpoint of {size} records holds" for size in self.proven]
        told += [f"the checkpoint of {size} records does not hold" for size in self.refuted]
        if self.end > self.size:
            told.append(f"no checkpoint covers the records from {max(self.start, self.size)} on yet")
        return (f"{read}: " + ("verified" if self.holds else "NOT verified"), *told)


def merge_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Sort faults by place, without repetitions, neighbours that say the same as one."""
    merged: list[Fault] = []
    for fault in sorted(
        set(faults), key=lambda each: (each.kind, each.detail, -1 if each.first is None else each.first)
    ):
        before = merged[-1] if merged else None
        if (
            before is not None
            and (before.kind, before.detail) == (fault.kind, fault.detail)
            and before.last is not None
            and fault.first == before.last + 1
            and fault.kind not in (FaultKind.RECORD_ALTERED_WITHIN, FaultKind.HISTORY_REWRITTEN)
        ):
            merged[-1] = replace(before, last=fault.last)
        else:
            merged.append(fault)
    return tuple(sorted(merged, key=lambda each: (-1 if each.first is None else each.first, each.kind)))


class RangeSet:
    """Stretches of the log, to be asked quickly."""

    def __init__(self, ranges: Iterable[range]) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        for each in sorted(ranges, key=lambda found: found.start):
            if self.stops and each.start <= self.stops[-1]:
                self.stops[-1] = max(self.stops[-1], each.stop)
            else:
                self.starts.append(each.start)
                self.stops.append(each.stop)

    def intersects(self, places: range) -> bool:
        """Tell whether any of these places is in one of the stretches."""
        at = bisect.bisect_left(self.starts, places.stop) - 1
        return at >= 0 and self.stops[at] > places.start


def fault_ranges(faults: Iterable[Fault], *kinds: FaultKind) -> RangeSet:
    """Give the places of the records that faults are about: those of these kinds, or of all."""
    return RangeSet(
        range(each.first, each.last + 1)
        for each in faults
        if each.first is not None and each.last is not None and (not kinds or each.kind in kinds)
    )
