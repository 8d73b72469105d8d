"""Export files: an exported range of the record log as JSON Lines. Bytes are encoded in base64.

    line 1       {"format":1,"start":..,"checkpoint":..,"before":[..],"after":[..],"retentions":[..],"consistency":[..]}
                 If the signing key was rotated, line 1 also has "key_rotations":[..], the signed statements as text
    other lines  {"index":..,"header":..,"ciphertext":..,"nodes":[..],"columns":{..}}, one record per line in the order of the log

`ciphertext` is null if retention removed the ciphertext. An item of `retentions` is {"record":.., "proof":[..]}. An
item of `consistency` is [size, proof]. The format is JSON Lines so that a file of any size can be written and read
record by record.

The content is not trusted. `read_export` only checks the format of the file; `verify` checks the content.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from grounds_record.errors import ExportMalformed
from grounds_record.export import Export, RetentionProof, StoredRecord
from grounds_record.note import decode_base64, encode_base64
from grounds_record.private_files import replace_file

_FORMAT = 1
_LINE_BYTES_MAX = 32 * 1024 * 1024  # the body of a record has at most 16 MiB, and base64 adds a third


def write_export(path: Path, export: Export, checkpoint: str) -> int:
    """Write an export and the newest checkpoint to a file; return the number of records.

    An existing file is replaced after the new file was written completely.

    Args:
        path: Path of the file.
        export: The export.
        checkpoint: The newest checkpoint, a signed note.
    """
    head: dict[str, Any] = {
        "format": _FORMAT,
        "start": export.start,
        "checkpoint": checkpoint,
        "before": _encode_hashes(export.before),
        "after": _encode_hashes(export.after),
        "retentions": [
            {"record": _record_document(each.record), "proof": _encode_hashes(each.proof)} for each in export.retentions
        ],
        "consistency": [[size, _encode_hashes(proof)] for size, proof in export.consistency],
    }
    if export.key_rotations:  # without rotations, older releases can read the file
        head["key_rotations"] = list(export.key_rotations)
    count = 0
    with replace_file(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(json.dumps(head) + "\n")
        for record in export.records:
            file.write(json.dumps(_record_document(record)) + "\n")
            count += 1
    return count


def read_export(path: Path) -> tuple[Export, str]:
    """Read an export file. The records are read from the file while they are iterated.

    Returns:
        The export, and the newest checkpoint, whose signature is not verified.

    Raises:
        ExportMalformed: The file is not an export. The message states the invalid line. Iterating the records may raise
            this error too.
    """
    lines, no_head = _read_lines(path), (1, dict[str, Any]())
    number, head = next(lines, no_head)
    try:
        if head.get("format") != _FORMAT:
            raise ExportMalformed(f"{path}: is not an export of format {_FORMAT}")
        retentions = tuple(
            RetentionProof(_parse_record(each["record"]), _parse_hashes(each["proof"])) for each in head["retentions"]
        )
        consistency = tuple((_parse_count(size), _parse_hashes(proof)) for size, proof in head["consistency"])
        before, after = _parse_hashes(head["before"]), _parse_hashes(head["after"])
        key_rotations = tuple(map(_parse_text, head.get("key_rotations", [])))
        start, checkpoint = _parse_count(head["start"]), _parse_text(head["checkpoint"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportMalformed(f"{path}: line {number}: the head of the export is malformed") from error
    export = Export(
        start=start,
        records=_read_records(path, lines),
        before=before,
        after=after,
        retentions=retentions,
        consistency=consistency,
        key_rotations=key_rotations,
    )
    return export, checkpoint


def _read_records(path: Path, lines: Iterator[tuple[int, Any]]) -> Iterator[StoredRecord]:
    """Yield the records of the remaining lines."""
    for number, document in lines:
        try:
            yield _parse_record(document)
        except (KeyError, TypeError, ValueError) as error:
            raise ExportMalformed(f"{path}: line {number}: the record is malformed") from error


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number (from 1) and the JSON object of every line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded_lines(file), start=1):
                try:
                    document = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ExportMalformed(f"{path}: line {number}: must be JSON") from error
                if not isinstance(document, dict):
                    raise ExportMalformed(f"{path}: line {number}: must be a JSON object")
                yield number, document
    except OSError as error:
        raise ExportMalformed(f"{path}: cannot be read: {error.strerror}") from error


def _bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines. A line over the limit is split into invalid parts, so that it cannot fill the memory."""
    while line := file.readline(_LINE_BYTES_MAX):
        yield line


def _record_document(record: StoredRecord) -> dict[str, Any]:
    """Return the JSON object of a record."""
    return {
        "index": record.index,
        "header": encode_base64(record.header),
        "ciphertext": None if record.ciphertext is None else encode_base64(record.ciphertext),
        "nodes": _encode_hashes(record.nodes),
        "columns": None if record.columns is None else dict(record.columns),
    }


def _parse_record(document: Any) -> StoredRecord:
    """Parse the JSON object of a record."""
    ciphertext, columns = document["ciphertext"], document["columns"]
    return StoredRecord(
        index=_parse_count(document["index"]),
        header=_parse_bytes(document["header"]),
        ciphertext=None if ciphertext is None else _parse_bytes(ciphertext),
        nodes=_parse_hashes(document["nodes"]),
        columns=None if columns is None else _parse_columns(columns),
    )


def _parse_columns(value: Any) -> dict[str, str]:
    """Parse columns by name."""
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return {name: _parse_text(text) for name, text in value.items()}


def _encode_hashes(hashes: Iterable[bytes]) -> list[str]:
    """Return hashes in base64."""
    return [encode_base64(each) for each in hashes]


def _parse_hashes(value: Any) -> tuple[bytes, ...]:
    """Parse hashes in base64. Their length is not checked, because `verify` reports a wrong length as a fault."""
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(_parse_bytes(each) for each in value)


def _parse_bytes(value: Any) -> bytes:
    """Parse bytes in base64."""
    decoded = decode_base64(_parse_text(value))
    if decoded is None:
        raise ValueError("not base64")
    return decoded


def _parse_text(value: Any) -> str:
    """Parse a string."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _parse_count(value: Any) -> int:
    """Parse an integer that is not negative."""
    # `type` instead of isinstance, because Python treats true and false as integers.
    if type(value) is not int or value < 0:
        raise ValueError("not an integer from 0")
    return value
