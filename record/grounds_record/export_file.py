"""An exported stretch of the log as a file: JSON Lines, bytes in base64, read line by line.

    line 1     {"format":1,"start":..,"checkpoint":..,"before":[..],"after":[..],"retentions":[..],"consistency":[..]}
    then       {"index":..,"header":..,"ciphertext":..,"nodes":[..],"columns":{..}} for each record, in the order of the log

`ciphertext` is null where retention removed it. A retention is {"record":.., "proof":[..]}; a consistency [size, [..]].
Nothing in it is trusted: what cannot be read is refused, what can be read is verified.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from grounds_record.errors import ExportMalformed
from grounds_record.export import Export, RetentionProof, StoredRecord
from grounds_record.note import decode_base64, encode_base64

FORMAT = 1
LINE_BYTES_MAX = 32 * 1024 * 1024
_EMPTY_HEAD: dict[str, Any] = {}


def write_export(path: Path, export: Export, checkpoint: str) -> int:
    """Write an export and the newest checkpoint; gives how many records it has.

    The file takes its name when it is whole; one that is there is replaced.
    """
    head = {
        "format": FORMAT,
        "start": export.start,
        "checkpoint": checkpoint,
        "before": _encode_hashes(export.before),
        "after": _encode_hashes(export.after),
        "retentions": [
            {"record": _record_document(each.record), "proof": _encode_hashes(each.proof)} for each in export.retentions
        ],
        "consistency": [[size, _encode_hashes(proof)] for size, proof in export.consistency],
    }
    partial, count = path.with_name(f"{path.name}.partial"), 0
    with partial.open("w", encoding="ascii") as file:
        file.write(json.dumps(head) + "\n")
        for record in export.records:
            file.write(json.dumps(_record_document(record)) + "\n")
            count += 1
    partial.replace(path)
    return count


def read_export(path: Path) -> tuple[Export, str]:
    """Read an export; its records are read from the file while they are iterated over.

    Returns:
        The export, and the newest checkpoint, which is not verified yet.

    Raises:
        ExportMalformed: The file is no export, here or while its records are read; names the line.
    """
    lines = _read_lines(path)
    number, head = next(lines, (1, _EMPTY_HEAD))
    try:
        if head.get("format") != FORMAT:
            raise ExportMalformed(f"{path}: is no export of format {FORMAT}")
        retentions = tuple(
            RetentionProof(_parse_record(each["record"]), _parse_hashes(each["proof"])) for each in head["retentions"]
        )
        consistency = tuple((_parse_count(size), _parse_hashes(proof)) for size, proof in head["consistency"])
        before, after = _parse_hashes(head["before"]), _parse_hashes(head["after"])
        start, checkpoint = _parse_count(head["start"]), _parse_text(head["checkpoint"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportMalformed(f"{path}: line {number}: is not the head of an export") from error
    records = _read_records(path, lines)
    export = Export(
        start=start, records=records, before=before, after=after, retentions=retentions, consistency=consistency
    )
    return export, checkpoint


def _read_records(path: Path, lines: Iterator[tuple[int, Any]]) -> Iterator[StoredRecord]:
    """Read the records."""
    for number, found in lines:
        try:
            yield _parse_record(found)
        except (KeyError, TypeError, ValueError) as error:
            raise ExportMalformed(f"{path}: line {number}: is not a record") from error


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Read lines of JSON with their numbers, from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded_lines(file), start=1):
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ExportMalformed(f"{path}: line {number}: is not JSON") from error
                if not isinstance(found, dict):
                    raise ExportMalformed(f"{path}: line {number}: is not an object")
                yield number, found
    except OSError as error:
        raise ExportMalformed(f"{path}: cannot be read: {error.strerror}") from error


def _bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Give the lines; an endless one is cut, and so refused."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def _record_document(record: StoredRecord) -> dict[str, Any]:
    """Write a record."""
    return {
        "index": record.index,
        "header": encode_base64(record.header),
        "ciphertext": None if record.ciphertext is None else encode_base64(record.ciphertext),
        "nodes": _encode_hashes(record.nodes),
        "columns": None if record.columns is None else dict(record.columns),
    }


def _parse_record(found: Any) -> StoredRecord:
    """Read a record."""
    ciphertext, columns = found["ciphertext"], found["columns"]
    return StoredRecord(
        index=_parse_count(found["index"]),
        header=_parse_bytes(found["header"]),
        ciphertext=None if ciphertext is None else _parse_bytes(ciphertext),
        nodes=_parse_hashes(found["nodes"]),
        columns=None if columns is None else _parse_columns(columns),
    )


def _parse_columns(found: Any) -> dict[str, str]:
    """Read columns."""
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return {name: _parse_text(text) for name, text in found.items()}


def _encode_hashes(hashes: Iterable[bytes]) -> list[str]:
    """Write hashes."""
    return [encode_base64(each) for each in hashes]


def _parse_hashes(found: Sequence[Any]) -> tuple[bytes, ...]:
    """Read hashes; of what length they are, `verify` asks."""
    if not isinstance(found, list):
        raise TypeError("not a list")
    return tuple(_parse_bytes(each) for each in found)


def _parse_bytes(found: Any) -> bytes:
    """Read bytes."""
    decoded = decode_base64(_parse_text(found))
    if decoded is None:
        raise ValueError("not base64")
    return decoded


def _parse_text(found: Any) -> str:
    """Read a text."""
    if not isinstance(found, str):
        raise TypeError("not a text")
    return found


def _parse_count(found: Any) -> int:
    """Read a number that is 0 or more."""
    if type(found) is not int or found < 0:
        raise ValueError("not a whole number")
    return found
