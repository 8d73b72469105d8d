"""The erasure list: a file outside the databases that lists which customers were erased.

If both databases are restored from copies that are older than an erasure, the erased customer returns, with the key
that was destroyed. Only data outside the backups can show this. The list is such data: it is stored next to the signing
key, and a backup of the databases must never contain it. When the server starts, every listed erasure that the restored
record log does not contain is applied again.

The file has one line per erasure: the id of its record, the time in microseconds since 1970, the customer's tag, and
the ids of the destroyed keys. The tag is a keyed hash, so the file contains no customer number. Lines are only
appended.
"""

import datetime as dt
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grounds_record.private_files import open_lock_file
from server.errors import LogRefused, StoreUnavailable
from server.stores.whole_writes import write_whole

_LINE = re.compile(r"([0-9a-f-]{36}) (\d{1,18}) ([0-9a-f]{64})((?: [0-9a-f]{32})*)")


@dataclass(frozen=True, slots=True)
class ListedErasure:
    """An erasure in the list.

    Attributes:
        record_id: Id of the ERASURE record.
        time_us: Time of the erasure in microseconds since 1970.
        customer_tag: Tag of the customer, 64 hexadecimal digits.
        key_ids: Ids of the customer's keys that the erasure destroyed.
    """

    record_id: str
    time_us: int
    customer_tag: str
    key_ids: tuple[str, ...]

    @property
    def time(self) -> dt.datetime:
        """Return the time of the erasure, in UTC."""
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=self.time_us)


class ErasureList:
    """The erasure list of one log. Several processes on the same machine may share the file.

    Attributes:
        path: Path of the file, which is created with mode 0600 at the first erasure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[ListedErasure]:
        """Return the listed erasures, in the order in which they were added.

        Raises:
            LogRefused: The file cannot be read or is damaged.
        """
        if not self.path.exists():
            return []
        try:
            with self._lock() as descriptor:
                return self._parse(_read_whole(descriptor))
        except OSError as error:
            raise LogRefused(f"{self.path}: the erasure list cannot be read: {error.strerror}") from error

    def add(self, erasures: Iterable[ListedErasure]) -> None:
        """Append the erasures that are not listed yet, and flush the file to the disk.

        Raises:
            LogRefused: The file is damaged.
            StoreUnavailable: The file cannot be written.
        """
        try:
            with self._lock() as descriptor:
                content = _read_whole(descriptor)
                known = {each.record_id for each in self._parse(content)}
                new = [each for each in erasures if each.record_id not in known]
                if new:
                    # A crash may have interrupted the last append; the incomplete line is overwritten.
                    start, lines = content.rfind(b"\n") + 1, "".join(map(_line, new)).encode()
                    write_whole(descriptor, lines, start)
                    os.ftruncate(descriptor, start + len(lines))
                    os.fsync(descriptor)
        except OSError as error:
            raise StoreUnavailable(
                f"the erasure list {self.path} cannot be written; free its disk or correct its permissions, then run the command "
                "again"
            ) from error

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Open the file, and lock it against other processes. Yield the descriptor."""
        descriptor = open_lock_file(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _parse(self, content: bytes) -> list[ListedErasure]:
        """Parse the complete lines of the file."""
        found = []
        for number, line in enumerate(content.decode("ascii", "replace").split("\n")[:-1], start=1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise LogRefused(
                    f"{self.path}: line {number} is damaged; restore the erasure list from a copy of the file"
                )
            found.append(ListedErasure(match[1], int(match[2]), match[3], tuple(match[4].split())))
        return found


def _line(erasure: ListedErasure) -> str:
    """Return the line of an erasure."""
    words = (erasure.record_id, str(erasure.time_us), erasure.customer_tag, *erasure.key_ids)
    return f"{' '.join(words)}\n"


def _read_whole(descriptor: int) -> bytes:
    """Read the whole file."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
