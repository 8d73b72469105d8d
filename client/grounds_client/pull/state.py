"""The state of a pull, in a JSON file beside the copy, so that an interrupted pull resumes."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from grounds_client.errors import PullRefused
from grounds_client.pull.files import replace_file

_FORMAT = 1
_Phase = Literal["FULL", "DELTA", "APPLY_FULL", "APPLY_DELTA", "IN_STEP"]


@dataclass(frozen=True, slots=True)
class PullState:
    """How far a pull has come. The fields are the keys of the state file.

    Attributes:
        market: The market of the copy.
        locale: The language of its drivers.
        phase: FULL or DELTA while parts are fetched, APPLY_FULL or APPLY_DELTA once all parts are on disk, IN_STEP when the copy
            has been written.
        token: Continues after the last part on disk; once all parts are there, begins the next delta.
        parts: The number of parts on disk.
        run: The run columns of the copy that the parts lead to (`run_columns`).
        file_sha256: SHA-256 of the copy as last written; "" if it never was.
    """

    market: str
    locale: str
    phase: _Phase = "FULL"
    token: str = ""
    parts: int = 0
    run: dict[str, Any] = field(default_factory=dict)
    file_sha256: str = ""


class StateFile:
    """Reads and writes the state of one pull.

    Args:
        path: The JSON file. Its lock and the folder of parts stand beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts_folder = path.with_name(path.name + ".parts")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the state exclusively. The operating system releases the lock when the process ends, however it ends.

        Raises:
            PullRefused: Another pull holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(self.path.name + ".lock").open("w") as lock_file:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PullRefused(f"another pull with {self.path} is running; wait for it to end") from error
            self.parts_folder.mkdir(exist_ok=True)
            yield

    def read(self) -> PullState | None:
        """Return the state; None if there is none yet.

        Raises:
            PullRefused: The file is malformed, or another release wrote it.
        """
        if not self.path.exists():
            return None
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise PullRefused(f"{self.path}: unsupported format; delete the file to make a full sync")
            return PullState(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PullRefused(
                f"{self.path}: is not the state of a pull; delete it, or name another file with --state"
            ) from error

    def write(self, state: PullState) -> None:
        """Replace the state durably."""
        with replace_file(self.path) as temporary:
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(state)}), encoding="utf-8")
