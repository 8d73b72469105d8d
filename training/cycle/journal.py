"""Remembers the completed steps of a cycle, so that a cycle that was interrupted continues after the last one.

A step is recorded only after everything that it wrote is complete. A step that was interrupted runs again; every step gives the
same result when it runs twice.
"""

import datetime as dt
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.atomic_files import make_folder, write_file
from training.errors import CycleRunning, DataInvalid

_JOURNAL, _LOCK = "cycle.json", ".lock"


class _Content(BaseModel):
    """The file cycle.json.

    Attributes:
        flow_sha256: Digest of the flow file and the spec.
        on: The day of the cycle.
        steps: The facts of each completed step.
        result: The result of the last start: DONE, NOT_PROPOSED, DATA_REFUSED or STOPPED; "" while it runs.
        summary: The result in one sentence, and the figures behind it.
    """

    model_config = ConfigDict(extra="forbid")

    flow_sha256: str
    on: dt.date
    steps: dict[str, dict[str, Any]] = {}
    result: str = ""
    summary: dict[str, Any] = {}


class CycleJournal:
    """The completed steps of one cycle.

    Attributes:
        folder: The folder of the cycle.
        on: The day of the cycle.
    """

    def __init__(self, cycles: Path, on: dt.date, flow_sha256: str) -> None:
        """Open the journal of a day, or begin it. Before the fit, a changed flow file or spec begins it again.

        Raises:
            DataInvalid: The journal cannot be read, or its model was fitted with a different flow file or spec.
        """
        self.folder, self.on = cycles / on.isoformat(), on
        make_folder(self.folder)
        self._path = self.folder / _JOURNAL
        self._content = _Content(flow_sha256=flow_sha256, on=on)
        known = _read_content(self._path) if self._path.exists() else self._content
        if known.flow_sha256 == flow_sha256:
            self._content = known.model_copy(update={"result": "", "summary": {}})
        elif "fit" in known.steps:
            raise DataInvalid(
                f"{self._path}: the model of this cycle was fitted with a different flow file or spec; "
                "finish the cycle with the earlier files, or delete its folder to begin it again"
            )

    def find(self, step: str) -> dict[str, Any] | None:
        """Return the facts that a completed step recorded; None if the step is not completed."""
        return self._content.steps.get(step)

    def complete(self, step: str, **facts: Any) -> dict[str, Any]:
        """Record that a step is completed, with its facts; return the facts."""
        self._content.steps[step] = facts
        self._write()
        return facts

    def finish(self, result: str, **summary: Any) -> None:
        """Record the result of the cycle. A later run replaces it."""
        self._content.result, self._content.summary = result, summary
        self._write()

    def _write(self) -> None:
        """Write the journal atomically."""
        write_file(self._path, self._content.model_dump_json(indent=1).encode() + b"\n")


def earlier_bundles(cycles: Path, before: dt.date) -> list[str]:
    """Return the bundles of the cycles before a day that no cycle has asked to retire, each once, the newest first."""
    journals = [path for path in cycles.glob(f"*/{_JOURNAL}") if path.parent.name < before.isoformat()]
    steps = [_read_content(path).steps for path in sorted(journals, reverse=True)]
    retired = {each for found in steps for each in found.get("retire", {}).get("bundle_ids", [])}
    fitted = dict.fromkeys(found["fit"]["bundle_id"] for found in steps if "fit" in found)
    return [each for each in fitted if each not in retired]


@contextmanager
def only_cycle(cycles: Path) -> Iterator[None]:
    """Keep every other cycle in the same folder from running during the block.

    Raises:
        CycleRunning: Another cycle is running.
    """
    make_folder(cycles)
    descriptor = os.open(cycles / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
        except BlockingIOError as error:
            raise CycleRunning(f"{cycles}: another cycle is running; wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)


def _read_content(path: Path) -> _Content:
    """Return the content of a journal.

    Raises:
        DataInvalid: The file is unreadable.
    """
    try:
        return _Content.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataInvalid(f"{path}: is no journal of a cycle; delete the folder to begin the cycle again") from error
