"""The state of a pull: a JSON file next to the copy, from which an interrupted pull resumes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from grounds_client.errors import PullRefused
from grounds_client.files import hold_lock
from grounds_record.private_files import make_folder, replace_file

_FORMAT = 1
_Phase = Literal["FULL", "DELTA", "APPLY_FULL", "APPLY_DELTA", "IN_STEP"]
UP_TO_DATE: Final = "IN_STEP"  # the value that existing state files contain; do not change it


@dataclass(frozen=True, slots=True)
class PullState:
    """How far a pull has come. The fields are the keys of the state file.

    Attributes:
        market: The market of the copy.
        locale: The language of the driver texts in the copy.
        phase: FULL or DELTA while the parts of a full sync or a delta are fetched; APPLY_FULL or APPLY_DELTA when all
            parts are on disk; UP_TO_DATE when the copy has been written.
        token: The server's token for the next part. When all parts are on disk, it is the token for the next delta.
        parts: The number of parts on disk.
        run: The run columns of the copy after the parts are applied (`run_columns`).
        file_sha256: SHA-256 of the copy as last written; "" if no copy has been written.
        include_withheld: Whether the copy has withheld customers (held out or suppressed).
        family: The model family of the copy. Before the first answer, it is the family that the caller named. It is "" if
            the caller named none, or if an earlier release wrote the state.
    """

    market: str
    locale: str
    phase: _Phase = "FULL"
    token: str = ""
    parts: int = 0
    run: dict[str, Any] = field(default_factory=dict)
    file_sha256: str = ""
    include_withheld: bool = False
    family: str = ""


class StateFile:
    """Reads and writes the state of one pull.

    Args:
        path: Path of the JSON file. The lock file and the folder of parts are next to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts_folder = path.with_name(path.name + ".parts")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the state for this process.

        The operating system releases the lock when the process ends, even if the process is killed.

        Raises:
            PullRefused: Another pull has the lock.
        """
        refusal = PullRefused(f"another pull with {self.path} is running; wait for it to end")
        with hold_lock(self.path.with_name(f"{self.path.name}.lock"), refusal):
            make_folder(self.parts_folder)
            yield

    def read(self) -> PullState | None:
        """Read the state; return None if the file does not exist.

        Raises:
            PullRefused: The file is malformed, or another release wrote it.
        """
        if not self.path.exists():
            return None
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise PullRefused(f"{self.path}: unsupported format; delete the file to start a full sync")
            return PullState(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PullRefused(
                f"{self.path}: is not the state of a pull; delete the file, or use a different file with --state"
            ) from error

    def write(self, state: PullState) -> None:
        """Replace the state durably."""
        with replace_file(self.path) as temporary:
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(state)}), encoding="utf-8")
