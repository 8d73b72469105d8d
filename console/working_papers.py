"""An auditor's working papers: which evidence was read for which purpose, and the auditor's marks and comments.

Each person has one file of JSON lines. A line is only ever appended, and contains the SHA-256 of the line before it, so a
reviewer notices a changed, moved or removed entry as soon as they know the newest digest. An entry names a decision by its
id, or a churn run by its id and market, and no customer.

An append checks the last line only, so that its duration does not depend on the length of the file. Reading checks every line.
"""

import datetime as dt
import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from grounds_record.private_files import make_folder, sync_path

FORMAT = "Grounds working papers 1"
READING, MARK = "READING", "MARK"
MARKS = {
    "NO_EXCEPTION": "No exception",
    "EXCEPTION": "Exception",
    "FOLLOW_UP": "To be followed up",
}
_FIRST_PREVIOUS = "0" * 64
_DIGEST_LENGTH = len(_FIRST_PREVIOUS)
_FILE_MODE = 0o600
_READ_SIZE = 65_536  # bytes; the longest entry, with a comment of 4,000 characters, is shorter
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
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            make_folder(folder)
            for each in missing:
                sync_path(each.parent)
            is_open = folder.stat().st_mode & _OTHERS
        except OSError as error:
            raise PapersRefused(f"{folder}: cannot be used as a folder ({error.strerror})") from error
        if is_open:
            raise PapersRefused(f"{folder}: must be accessible to its owner only; run: chmod 700 {folder}")

    def append(self, person: str, kind: str, **values: Any) -> PaperEntry:
        """Append an entry, and return it after it is on the disk. Check the entry before it, and no other.

        Args:
            person: Whose working papers.
            kind: READING or MARK.
            values: The other fields of the entry.

        Raises:
            PapersRefused: The last entry is damaged, or the file cannot be written.
        """
        try:
            handle = os.open(self._path(person), os.O_RDWR | os.O_CREAT, _FILE_MODE)
            with os.fdopen(handle, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another request of the person, or another console
                last, end = _read_last_line(file)
                if not last:
                    sync_path(self._folder)  # makes the name of a new file durable, before anything is in it
                number, previous = _check_last(last, person)
                line = _encode(
                    {
                        "number": number + 1,
                        "time": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
                        "person": person,
                        "kind": kind,
                        **values,
                        "previous_sha256": previous,
                    }
                )
                file.seek(end)
                file.truncate()  # what follows was never confirmed: the process died
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PapersRefused(f"the working papers cannot be written ({error.strerror}); ask the operator") from error
        return _parse_line(line)

    def find_reading(self, person: str, decision_id: str) -> PaperEntry | None:
        """Return the person's newest reading of the evidence of a decision; None if there is none.

        Raises:
            PapersRefused: The file cannot be read.
        """
        needle = json.dumps(decision_id, ensure_ascii=False).encode()
        try:
            with self._path(person).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
                end = content.rfind(b"\n")
                while (position := content.rfind(needle, 0, max(end, 0))) >= 0:
                    start = content.rfind(b"\n", 0, position) + 1
                    entry = _parse_line(content[start : content.find(b"\n", position)])
                    if (entry.values.get("kind"), entry.values.get("decision_id")) == (READING, decision_id):
                        return entry
                    end = start
        except (FileNotFoundError, ValueError):  # ValueError: the file is empty
            return None
        except OSError as error:
            raise PapersRefused(f"the working papers cannot be read ({error.strerror}); ask the operator") from error
        return None

    def read(self, person: str) -> list[PaperEntry]:
        """Return the entries of a person, the oldest first. Check every one of them.

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


def _read_last_line(file: BinaryIO) -> tuple[bytes, int]:
    """Return the last complete line of a file without its line break, and where the next line begins."""
    content, start = b"", file.seek(0, os.SEEK_END)
    # The line that is read ends with one line break and begins after another one, or at the start of the file.
    while start and content.find(b"\n") == content.rfind(b"\n"):
        size = min(_READ_SIZE, start)
        start = file.seek(start - size)
        content = file.read(size) + content
    complete = content[: content.rfind(b"\n") + 1]
    return complete[complete.rfind(b"\n", 0, -1) + 1 : -1], start + len(complete)


def _check_last(line: bytes, person: str) -> tuple[int, str]:
    """Return number and SHA-256 of the last entry of a person, for the next one; raise PapersRefused if it is no entry."""
    if not line:
        return 0, _FIRST_PREVIOUS
    entry = _parse_line(line)
    number, previous = entry.values.get("number"), entry.values.get("previous_sha256")
    is_entry = isinstance(number, int) and isinstance(previous, str) and len(previous) == _DIGEST_LENGTH
    if not is_entry or entry.values.get("person") != person:
        raise PapersRefused("the last entry of the working papers was changed; restore the file from a backup")
    return int(str(number)), entry.sha256


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
