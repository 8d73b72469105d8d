"""The inclusion proof of a record as a drawing: the path of hashes from the record to the root in the checkpoint.

Every hash of the path is computed here from the record's bytes and the siblings that the server returned. A table has the
same hashes, for readers who do not see the drawing. Each row of the drawing is an image of its own, so that a printed page
does not cut through a hash.
"""

from collections.abc import Iterator, Sequence

from grounds.audit.v1 import audit_pb2
from grounds_client.evidence.checks import record_leaf
from grounds_client.evidence.markup import Markup, table, tag
from grounds_record.checkpoint import parse_checkpoint
from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.merkle import HASH_BYTES, InclusionStep, inclusion_path
from grounds_record.note import parse_note

_BOX_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT = 120, 76, 102
_COLUMNS = (1, 127, 253)  # left edges of the boxes: a sibling at the left, the path, a sibling at the right
_WIDTH = 374
_LEFT, _PATH, _RIGHT = (column + _BOX_WIDTH / 2 for column in _COLUMNS)
_LINE_DIGITS, _LINE_HEIGHT = 16, 14
_HOLDS = (
    "The path holds: from {start}, it leads to the root in the checkpoint. Boxes with a solid line were computed for this page. "
    "Boxes with a dashed line are hashes of other records, as the server returned them. Each hash below two boxes is "
    "SHA-256(0x01, left, right)."
)
_ERASED_START = "the stored hash of the record, whose content was erased"
_BROKEN = (
    "The path is broken: it leads to another root than the one in the checkpoint. The record, its place, a hash or the checkpoint "
    "was changed."
)
_HEAD = ("step", "hash beside the path", "its side", "its records", "hash of both")


def proof_path(proof: audit_pb2.GetInclusionProofResponse) -> Markup:
    """Return the drawing and the table of an inclusion proof; if there is no path to draw, say why in words.

    Whether the checkpoint is signed is another check: this one reads its size and its root.
    """
    leaf = record_leaf(proof.record)
    try:
        if any(len(each) != HASH_BYTES for each in (leaf, *proof.hashes)):
            raise ProofInvalid(f"a hash does not have {HASH_BYTES} bytes, or the record has none")
        checkpoint = parse_checkpoint(parse_note(proof.checkpoint)[0])
        steps = inclusion_path(proof.record.index, checkpoint.size, leaf, tuple(proof.hashes))
    except RecordError as error:
        return tag("div", tag("p", f"The path is broken and cannot be drawn: {error}", class_="fails"), class_="path")
    computed = steps[-1].hash if steps else leaf
    holds = computed == checkpoint.root
    start = "the bytes of the record" if proof.record.HasField("ciphertext") else _ERASED_START
    rows = [*_step_rows(proof.record.index, leaf, steps), *_end_rows(computed, checkpoint.root, checkpoint.size)]
    return tag(
        "div",
        tag("p", _HOLDS.format(start=start) if holds else _BROKEN, class_="holds" if holds else "fails"),
        tag("div", *rows, class_="drawing"),
        _table(proof.record.index, leaf, steps, checkpoint.root),
        class_="path",
    )


def _step_rows(index: int, leaf: bytes, steps: Sequence[InclusionStep]) -> Iterator[Markup]:
    """Yield one row for each step: the hash that the path has reached, and its sibling."""
    reached, label = leaf, f"record {index}"
    for step in steps:
        column, center = (_COLUMNS[0], _LEFT) if step.is_left else (_COLUMNS[2], _RIGHT)
        bottom = _BOX_HEIGHT + 1
        lines = (
            f"M{_PATH:g} {bottom}V{_ROW_HEIGHT}M{center:g} {bottom}V{bottom + 12}H{_PATH:g}M{_PATH - 4:g} {_ROW_HEIGHT - 7}"
            f"l4 7l4 -7"
        )
        yield _row(
            _ROW_HEIGHT,
            _box(_COLUMNS[1], label, reached, "reached"),
            _box(column, _records(step.sibling_leaves), step.sibling, "sibling"),
            tag("path", d=lines),
        )
        reached, label = step.hash, _records(step.leaves)


def _end_rows(computed: bytes, root: bytes, size: int) -> Iterator[Markup]:
    """Yield the last two rows: the root that the path leads to, and the one in the checkpoint, equal or not."""
    same = computed == root
    sign, words, kind = ("=", "equal", None) if same else ("\N{NOT EQUAL TO}", "not equal", "broken")
    yield _row(
        _ROW_HEIGHT,
        _box(_COLUMNS[1], "record 0" if size == 1 else _records((0, size)), computed, "reached"),
        tag("text", sign, x=f"{_PATH - 6:g}", y=_ROW_HEIGHT - 7, class_="sign"),
        tag("text", words, x=f"{_PATH + 14:g}", y=_ROW_HEIGHT - 9),
        kind=kind,
    )
    yield _row(_BOX_HEIGHT + 2, _box(_COLUMNS[1], "checkpoint's root", root, "root"), kind=kind)


def _row(height: int, *shapes: Markup, kind: str | None = None) -> Markup:
    """Return one row of the drawing. Readers who do not see it have the table."""
    return tag("svg", *shapes, viewBox=f"0 0 {_WIDTH} {height}", aria_hidden="true", class_=kind)


def _box(left: int, label: str, digest: bytes, kind: str) -> Markup:
    """Return a box with a hash in lines of 16 digits, and which records it covers."""
    digits = digest.hex()
    lines = [digits[start : start + _LINE_DIGITS] for start in range(0, len(digits), _LINE_DIGITS)]
    return tag(
        "g",
        tag("rect", x=left, y=1, width=_BOX_WIDTH, height=_BOX_HEIGHT, rx=3),
        tag("text", label, x=left + 6, y=14),
        *(
            tag("text", line, x=left + 6, y=28 + number * _LINE_HEIGHT, class_="hash")
            for number, line in enumerate(lines)
        ),
        class_=kind,
    )


def _table(index: int, leaf: bytes, steps: Sequence[InclusionStep], root: bytes) -> Markup:
    """Return the path as a table: the record, one row for each step, and the root in the checkpoint."""
    rows = [("record", "none", "none", str(index), leaf.hex())]
    for number, step in enumerate(steps, start=1):
        side = "left" if step.is_left else "right"
        rows.append((str(number), step.sibling.hex(), side, _range(step.sibling_leaves), step.hash.hex()))
    rows.append(("root", "none", "none", "all", root.hex()))
    return table(_HEAD, rows)


def _records(leaves: tuple[int, int]) -> str:
    """Return the records that a hash covers, as the label of a box."""
    return f"record {leaves[0]}" if leaves[1] - leaves[0] == 1 else _range(leaves)


def _range(leaves: tuple[int, int]) -> str:
    """Return the first and the last of a range of records."""
    start, end = leaves
    return str(start) if end - start == 1 else f"{start} to {end - 1}"
