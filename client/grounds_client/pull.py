"""`churn pull`: keeps a file in step with a market. Killed anywhere, it goes on where it was.

What has come is written down before the token that says so: a part, then the state; at the end the file,
then the state. Each step can be done again with the same result.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from grounds_client.calls import Client
from grounds_client.errors import CallFailed, PullRefused
from grounds_client.pull_table import (
    OWN,
    applied,
    file_table,
    read_file,
    run_columns,
    table_of_export,
    table_of_page,
    write_file,
)

FORMAT = 1
RESYNCS_MAX = 3
Phase = Literal["FULL", "DELTA", "APPLY_FULL", "APPLY_DELTA", "IN_STEP"]


@dataclass(frozen=True, slots=True)
class State:
    """Where a pull is.

    Attributes:
        phase: FULL or DELTA while parts come, APPLY_* when all have come, IN_STEP when the file is made.
        token: Of the next part; of the next delta once all parts have come.
        parts: How many have come.
        run: Columns of the run that the parts lead to.
        file_sha256: Of the file as it was made last.
    """

    market: str
    locale: str
    phase: Phase = "FULL"
    token: str = ""
    parts: int = 0
    run: dict[str, Any] = field(default_factory=dict)
    file_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to."""

    customers: int
    changed: int
    removed: int
    run_id: str


class Pull:
    """One pull of one market into one file."""

    def __init__(self, client: Client, to: Path, state_file: Path, say: Callable[[str], None]) -> None:
        self.client, self.to, self.state_file, self.say = client, to, state_file, say
        self.folder = state_file.with_name(state_file.name + ".parts")
        self.changed = self.removed = 0

    def run(self, market: str, locale: str) -> Pulled:
        """Bring the file in step: whole at first, then by what changed.

        Raises:
            CallFailed: The server refuses, or cannot be reached; asking again goes on.
            PullRefused: The state is of another market, or another pull is under way.
        """
        with self.alone():
            state = self.begun(market, locale)
            for _ in range(RESYNCS_MAX):
                try:
                    return self.finished(state)
                except CallFailed as error:
                    if error.reason != "RESYNC_REQUIRED":
                        raise
                    self.say(f"the server asks to begin anew: {error.message}")
                    state = self.kept(State(market, locale, file_sha256=state.file_sha256))
                    self.changed = self.removed = 0
            raise PullRefused(f"the server asked {RESYNCS_MAX} times to begin anew; try again later")

    def begun(self, market: str, locale: str) -> State:
        """Give where to go on."""
        state = self.read_state()
        if state is None:
            return self.kept(State(market, locale))
        if state.market != market:
            raise PullRefused(
                f"{self.state_file} is of market {state.market}; take another --to or --state for {market}"
            )
        if state.locale != locale:
            self.say(f"the copy was told in {state.locale or 'en'}; a full sync is made in {locale or 'en'}")
            return self.kept(State(market, locale))
        there = sha256_of(self.to)
        if (state.phase in {"IN_STEP", "DELTA"} and there != state.file_sha256) or (
            state.phase == "APPLY_DELTA" and not there
        ):
            self.say(f"{self.to} is not what the last pull wrote; a full sync is made")
            return self.kept(State(market, locale))
        if state.phase == "IN_STEP":
            return self.kept(replace(state, phase="DELTA", parts=0))
        if state.parts:
            self.say(f"going on after {state.parts} parts")
        return state

    def finished(self, state: State) -> Pulled:
        """Go through the phases that are left. A full sync is followed by a delta: a newer run may have come."""
        if state.phase in {"FULL", "APPLY_FULL"}:
            state = self.made(self.exported(state) if state.phase == "FULL" else state)
            state = self.kept(replace(state, phase="DELTA", parts=0))
        state = self.made(self.synced(state) if state.phase == "DELTA" else state)
        return Pulled(self.read_own().num_rows, self.changed, self.removed, str(state.run["run_id"]))

    def exported(self, state: State) -> State:
        """Fetch what is left of a full sync."""
        for part in self.client.export_churn_risks(state.market, resume_token=state.token, locale=state.locale):
            table = table_of_export(part.arrow_stream, state.locale)
            self.write_part(state.parts, table)
            last = part.WhichOneof("next") == "delta_token"
            state = replace(
                state,
                phase="APPLY_FULL" if last else "FULL",
                token=part.delta_token if last else part.resume_token,
                parts=state.parts + 1,
                run=run_columns(part.run),
            )
            self.kept(state)
            self.say(f"part {state.parts}: {table.num_rows:,} of {part.run.customer_count:,} customers")
        return state

    def synced(self, state: State) -> State:
        """Fetch what is left of a delta."""
        while state.phase == "DELTA":
            first = state.parts == 0
            page = self.client.list_churn_risk_changes(
                state.market,
                page_token="" if first else state.token,
                delta_token=state.token if first else "",
                locale=state.locale,
            )
            self.write_part(state.parts, table_of_page(page))
            last = page.WhichOneof("next") == "delta_token"
            state = replace(
                state,
                phase="APPLY_DELTA" if last else "DELTA",
                token=page.delta_token if last else page.next_page_token,
                parts=state.parts + 1,
                run=run_columns(page.run),
            )
            self.kept(state)
            self.say(f"page {state.parts}: {len(page.churn_risks):,} changed, {len(page.removed_customers):,} removed")
        return state

    def made(self, state: State) -> State:
        """Make the file of what has come. Done again after a kill, it makes the same file."""
        parts = [self.read_part(number) for number in range(state.parts)]
        base = OWN.empty_table() if state.phase == "APPLY_FULL" else self.read_own()
        table = file_table(applied(base, parts), state.market, state.run)
        if state.phase == "APPLY_DELTA":
            self.changed += sum(part.num_rows for part in parts)
            self.removed += sum(len(json.loads(part.schema.metadata[b"removed"])) for part in parts)
        with replaced(self.to) as new:
            write_file(new, self.to.suffix, table)
        state = self.kept(replace(state, phase="IN_STEP", parts=0, file_sha256=sha256_of(self.to)))
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        return state

    def read_own(self) -> pa.Table:
        """Read the file as it is."""
        return read_file(self.to, self.to.suffix)

    def write_part(self, number: int, table: pa.Table) -> None:
        """Write a part down."""
        with replaced(self.part(number)) as new, pa.ipc.new_file(str(new), table.schema) as file:
            file.write(table)

    def read_part(self, number: int) -> pa.Table:
        """Read a part back."""
        with pa.ipc.open_file(str(self.part(number))) as file:
            return file.read_all()

    def part(self, number: int) -> Path:
        """Name a part."""
        return self.folder / f"{number:06d}.arrow"

    def read_state(self) -> State | None:
        """Read the state; None where there is none yet."""
        if not self.state_file.exists():
            return None
        try:
            told = json.loads(self.state_file.read_text(encoding="utf-8"))
            if told.pop("format") != FORMAT:
                raise PullRefused(f"{self.state_file} is of another release; delete it to make a full sync")
            return State(**told)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PullRefused(
                f"{self.state_file} is no state of a pull; delete it, or name another with --state"
            ) from error

    def kept(self, state: State) -> State:
        """Write the state down."""
        with replaced(self.state_file) as new:
            new.write_text(json.dumps({"format": FORMAT, **asdict(state)}), encoding="utf-8")
        return state

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let one pull at a time have the state; the lock goes with the process, however it ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self.state_file.with_name(self.state_file.name + ".lock")
        with lock.open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PullRefused(f"another pull with {self.state_file} is under way") from error
            self.folder.mkdir(exist_ok=True)
            yield


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a name to write a file under; at the end it is there whole, durably, in place of the former one."""
    new = path.with_name(f".{path.name}.new")
    yield new
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """Give a file's digest; "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
