"""An auditor's working papers: which evidence was read for which purpose, and the auditor's marks and comments.

Each person has one file of JSON lines. A line is only ever appended, and contains the SHA-256 of the line before it, so a
reviewer notices a changed, moved or removed entry as soon as they know the newest digest. An entry names a decision by its
id and no customer.
"""

import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "Grounds working papers 1"
READING, MARK = "READING", "MARK"
MARKS = {
    "NO_EXCEPTION": "No exception",
    "EXCEPTION": "Exception",
    "FOLLOW_UP": "To be followed up",
}
_FIRST_PREVIOUS = "0" * 64
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_OTHERS = 0o077  # the permission bits of group and others


class PapersRefused(Exception):
    """The folder cannot be used, or a file in it is damaged; the message states what to do next."""


@dataclass(frozen=True, slots=True)
class PaperEntry:
    """One entry.

    Attributes:
        values: The fields of the entry.
        sha256: SHA-256 of the line without its line break, in hexadecimal.
    """

    values: Mapping[str, Any]
    sha256: str


class WorkingPapers:
    """The working papers of all persons, in a folder that only the owner of the console's process can read."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if it is missing.

        Raises:
            PapersRefused: Other accounts of the machine may open the folder, or it cannot be created.
        """
        self._folder = folder
        try:
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            is_open = folder.stat().st_mode & _OTHERS
        except OSError as error:
            raise PapersRefused(f"{folder}: cannot be used as a folder ({error.strerror})") from error
        if is_open:
            raise PapersRefused(f"{folder}: must be accessible to its owner only; run: chmod 700 {folder}")

    def append(self, person: str, kind: str, **values: Any) -> PaperEntry:
        """Append an entry, and return it after it is on the disk.

        Args:
            person: Whose working papers.
            kind: READING or MARK.
            values: The other fields of the entry.

        Raises:
            PapersRefused: The file is damaged or cannot be written.
        """
        try:
            handle = os.open(self._path(person), os.O_RDWR | os.O_CREAT, _FILE_MODE)
            with os.fdopen(handle, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another request of the person, or another console
                content = file.read()
                complete = content[: content.rfind(b"\n") + 1]  # the rest was never confirmed: the process died
                entries = _parse(complete, person)
                line = _encode(
                    {
                        "number": len(entries) + 1,
                        "time": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
                        "person": person,
                        "kind": kind,
                        **values,
                        "previous_sha256": entries[-1].sha256 if entries else _FIRST_PREVIOUS,
                    }
                )
                file.seek(len(complete))
                file.truncate()
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PapersRefused(f"the working papers cannot be written ({error.strerror}); ask the operator") from error
        return _parse_line(line)

    def read(self, person: str) -> list[PaperEntry]:
        """Return the entries of a person, the oldest first.

        Raises:
            PapersRefused: The file is damaged or cannot be read.
        """
        try:
            content = self._path(person).read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PapersRefused(f"the working papers cannot be read ({error.strerror}); ask the operator") from error
        return _parse(content[: content.rfind(b"\n") + 1], person)

    def _path(self, person: str) -> Path:
        """Return the file of a person. Its name does not depend on the characters of the person's id."""
        return self._folder / f"{hashlib.sha256(person.encode()).hexdigest()[:32]}.jsonl"


def _encode(values: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of an entry: JSON with sorted keys and no spaces."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _parse(content: bytes, person: str) -> list[PaperEntry]:
    """Return the entries of a file; raise PapersRefused if one does not follow from the one before it."""
    entries: list[PaperEntry] = []
    previous = _FIRST_PREVIOUS
    for number, line in enumerate(content.splitlines(), 1):
        entry = _parse_line(line)
        expected = (number, person, previous)
        if tuple(entry.values.get(name) for name in ("number", "person", "previous_sha256")) != expected:
            raise PapersRefused(
                f"entry {number} of the working papers was changed, moved or removed; restore the file from a backup, and "
                "compare with an export"
            )
        entries.append(entry)
        previous = entry.sha256
    return entries


def _parse_line(line: bytes) -> PaperEntry:
    """Return the entry of a line. A line that is not an entry has no fields."""
    try:
        values = json.loads(line)
    except ValueError:
        values = {}
    return PaperEntry(values if isinstance(values, dict) else {}, hashlib.sha256(line).hexdigest())
