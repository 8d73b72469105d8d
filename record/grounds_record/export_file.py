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
from grounds_record.note import strict_base64, to_base64

FORMAT = 1
LINE_BYTES_MAX = 32 * 1024 * 1024
NOTHING: dict[str, Any] = {}


def write_export(path: Path, export: Export, checkpoint: str) -> int:
    """Write an export and the newest checkpoint; gives how many records it has.

    The file takes its name when it is whole; one that is there is replaced.
    """
    head = {
        "format": FORMAT,
        "start": export.start,
        "checkpoint": checkpoint,
        "before": texts(export.before),
        "after": texts(export.after),
        "retentions": [{"record": record_line(each.record), "proof": texts(each.proof)} for each in export.retentions],
        "consistency": [[size, texts(proof)] for size, proof in export.consistency],
    }
    partial, count = path.with_name(f"{path.name}.partial"), 0
    with partial.open("w", encoding="ascii") as file:
        file.write(json.dumps(head) + "\n")
        for record in export.records:
            file.write(json.dumps(record_line(record)) + "\n")
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
    lines = read_lines(path)
    number, head = next(lines, (1, NOTHING))
    try:
        if head.get("format") != FORMAT:
            raise ExportMalformed(f"{path}: is no export of format {FORMAT}")
        retentions = tuple(
            RetentionProof(record_of(each["record"]), hashes_of(each["proof"])) for each in head["retentions"]
        )
        consistency = tuple((whole(size), hashes_of(proof)) for size, proof in head["consistency"])
        before, after = hashes_of(head["before"]), hashes_of(head["after"])
        start, checkpoint = whole(head["start"]), text_of(head["checkpoint"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportMalformed(f"{path}: line {number}: is not the head of an export") from error
    records = read_records(path, lines)
    export = Export(
        start=start, records=records, before=before, after=after, retentions=retentions, consistency=consistency
    )
    return export, checkpoint


def read_records(path: Path, lines: Iterator[tuple[int, Any]]) -> Iterator[StoredRecord]:
    """Read the records."""
    for number, found in lines:
        try:
            yield record_of(found)
        except (KeyError, TypeError, ValueError) as error:
            raise ExportMalformed(f"{path}: line {number}: is not a record") from error


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Read lines of JSON with their numbers, from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(bounded(file), start=1):
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ExportMalformed(f"{path}: line {number}: is not JSON") from error
                if not isinstance(found, dict):
                    raise ExportMalformed(f"{path}: line {number}: is not an object")
                yield number, found
    except OSError as error:
        raise ExportMalformed(f"{path}: cannot be read: {error.strerror}") from error


def bounded(file: IO[bytes]) -> Iterator[bytes]:
    """Give the lines; an endless one is cut, and so refused."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def record_line(record: StoredRecord) -> dict[str, Any]:
    """Write a record."""
    return {
        "index": record.index,
        "header": to_base64(record.header),
        "ciphertext": None if record.ciphertext is None else to_base64(record.ciphertext),
        "nodes": texts(record.nodes),
        "columns": None if record.columns is None else dict(record.columns),
    }


def record_of(found: Any) -> StoredRecord:
    """Read a record."""
    ciphertext, columns = found["ciphertext"], found["columns"]
    return StoredRecord(
        index=whole(found["index"]),
        header=bytes_of(found["header"]),
        ciphertext=None if ciphertext is None else bytes_of(ciphertext),
        nodes=hashes_of(found["nodes"]),
        columns=None if columns is None else columns_of(columns),
    )


def columns_of(found: Any) -> dict[str, str]:
    """Read columns."""
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return {name: text_of(text) for name, text in found.items()}


def texts(hashes: Iterable[bytes]) -> list[str]:
    """Write hashes."""
    return [to_base64(each) for each in hashes]


def hashes_of(found: Sequence[Any]) -> tuple[bytes, ...]:
    """Read hashes; of what length they are, `verify` asks."""
    if not isinstance(found, list):
        raise TypeError("not a list")
    return tuple(bytes_of(each) for each in found)


def bytes_of(found: Any) -> bytes:
    """Read bytes."""
    decoded = strict_base64(text_of(found))
    if decoded is None:
        raise ValueError("not base64")
    return decoded


def text_of(found: Any) -> str:
    """Read a text."""
    if not isinstance(found, str):
        raise TypeError("not a text")
    return found


def whole(found: Any) -> int:
    """Read a number that is 0 or more."""
    if type(found) is not int or found < 0:
        raise ValueError("not a whole number")
    return found
