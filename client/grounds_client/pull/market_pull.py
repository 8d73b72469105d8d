"""`MarketPull`: updates a local file, the copy, with the churn predictions of one market. An interrupted pull resumes.

A full sync reads the server's export, which has all customers. A delta reads only the changes since the last sync. The
client receives both in parts.

The state file records how far a pull has come. Data are always written before the state that refers to them. A part is
written before the state that counts the part and has the token of the next part. The copy is written before the state
that marks the copy as up to date. So if the process is killed between two writes, the next pull repeats only the last
step, with the same result.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from grounds.churn.v1 import churn_pb2
from grounds_client.client import DEFAULT_PAGE_SIZE, Client
from grounds_client.errors import CallFailed, PullRefused
from grounds_client.files import file_sha256
from grounds_client.pull.state import UP_TO_DATE, PullState, StateFile
from grounds_client.pull.table import (
    CUSTOMER_SCHEMA,
    apply_parts,
    copy_table,
    export_table,
    page_table,
    read_copy,
    removed_customers,
    run_columns,
    write_copy,
)
from grounds_record.private_files import make_folder, replace_file

_RESYNCS_MAX = 3


@dataclass(frozen=True, slots=True)
class PullResult:
    """The result of a pull.

    Attributes:
        customers: Number of customers in the copy.
        changed: Number of customers that the delta changed or added.
        removed: Number of customers that the delta removed.
        run_id: The scoring run whose predictions the copy has.
    """

    customers: int
    changed: int
    removed: int
    run_id: str


class MarketPull:
    """One pull of one market into one file.

    Args:
        client: A client of the server.
        to: Path of the copy, ending in ".parquet" or ".csv".
        state_file: Path of the state file.
        report: A function that is called with each line of progress, such as the reason for a full sync.
        page_size: Number of customers on a page of a delta.
    """

    def __init__(
        self,
        client: Client,
        to: Path,
        state_file: Path,
        report: Callable[[str], None],
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
    ) -> None:
        self._client, self._to, self._report, self._page_size = client, to, report, page_size
        self._state_file = StateFile(state_file)
        self._changed = self._removed = 0
        self._family = ""

    def run(self, market: str, locale: str, *, include_withheld: bool = False, family: str = "") -> PullResult:
        """Bring the copy up to date.

        Args:
            market: The market of the copy.
            locale: The language of the driver texts.
            include_withheld: Whether the copy has withheld customers (held out or suppressed).
            family: The model family. "" means the family of the copy; for a new copy, it means churn, or the only family of
                the market.

        Raises:
            CallFailed: The server rejected a call or was unavailable; the next pull resumes.
            PullRefused: The state file is malformed or belongs to another market or family, another pull is using the state
                file, or the server required a full sync _RESYNCS_MAX times.
        """
        self._family = family
        with self._state_file.lock():
            state = self._starting_state(PullState(market, locale, include_withheld=include_withheld, family=family))
            for _ in range(_RESYNCS_MAX):
                try:
                    return self._finish(state)
                except CallFailed as error:
                    if error.reason != "RESYNC_REQUIRED":
                        raise
                    self._report(f"the server requires a full sync: {error.message}")
                    state = self._save(_empty_copy(state, self._family))
                    self._changed = self._removed = 0
            raise PullRefused(f"the server required a full sync {_RESYNCS_MAX} times in a row; try again later")

    def _starting_state(self, new: PullState) -> PullState:
        """Return the state to continue from: the last pull's state, or the new one if a full sync is needed."""
        state, locale = self._state_file.read(), new.locale
        if state is None or not (state.token or state.file_sha256):  # no pull has received anything yet
            return self._save(new)
        self._check_same_copy(state, new)
        new = replace(new, family=state.family or new.family)
        if state.locale != locale:
            self._report(f"locale changed from {state.locale or 'en'} to {locale or 'en'}: starting a full sync")
            return self._save(new)
        if state.include_withheld != new.include_withheld:
            self._report("include_withheld changed: starting a full sync")
            return self._save(new)
        # A delta can be applied only to the copy that the last pull wrote. In the phase APPLY_DELTA, the copy may be
        # newer than the digest in the state, because a pull can be killed between writing the copy and writing the
        # state. The digest is not compared in this phase, because applying the parts again to the new copy does not
        # change it.
        sha256 = file_sha256(self._to)
        is_changed = state.phase in {UP_TO_DATE, "DELTA"} and sha256 != state.file_sha256
        is_missing = state.phase == "APPLY_DELTA" and not sha256
        if is_changed or is_missing:
            self._report(f"{self._to} is not the file that the last pull wrote: starting a full sync")
            return self._save(new)
        if state.phase == UP_TO_DATE:
            return self._save(replace(state, phase="DELTA", parts=0))
        if state.parts:
            self._report(f"resuming after {state.parts} parts")
        return state

    def _check_same_copy(self, state: PullState, new: PullState) -> None:
        """Raise PullRefused if the state belongs to another market or family."""
        if state.market != new.market:
            raise PullRefused(
                f"{self._state_file.path}: belongs to market {state.market}; for {new.market}, use a different file with --to "
                "or --state"
            )
        self._check_same_family(state.family)

    def _check_same_family(self, family: str) -> None:
        """Raise PullRefused if the copy has another family than the caller named. "" is an unknown family."""
        if family and self._family and family != self._family:
            raise PullRefused(
                f"{self._state_file.path}: belongs to family {family}; for {self._family}, use a different file with --to or "
                "--state"
            )

    def _run_fields(self, state: PullState, run: churn_pb2.ChurnRun) -> dict[str, Any]:
        """Return the fields of the state that an answer's run determines: the run columns and the family of the copy.

        A state of an earlier release has no family, and a server of an earlier release states none.

        Raises:
            PullRefused: The caller named another family.
        """
        self._check_same_family(run.family)
        return {"run": run_columns(run), "family": run.family or state.family}

    def _finish(self, state: PullState) -> PullResult:
        """Run the remaining phases.

        A delta follows a full sync, because a newer run may have been loaded during the sync.
        """
        if state.phase in {"FULL", "APPLY_FULL"}:
            state = self._apply(self._fetch_export(state) if state.phase == "FULL" else state)
            state = self._save(replace(state, phase="DELTA", parts=0))
        state = self._apply(self._fetch_changes(state) if state.phase == "DELTA" else state)
        customers = self._read_customers().num_rows
        return PullResult(customers, self._changed, self._removed, str(state.run["run_id"]))

    def _fetch_export(self, state: PullState) -> PullState:
        """Fetch the remaining parts of a full sync."""
        export = self._client.export_churn_risks(
            state.market,
            resume_token=state.token,
            locale=state.locale,
            include_withheld=state.include_withheld,
            family=state.family,
        )
        for part in export:
            table = export_table(part.arrow_stream, state.locale, state.market)
            self._write_part(state.parts, table)
            is_last = part.WhichOneof("next") == "delta_token"
            state = self._save(
                replace(
                    state,
                    phase="APPLY_FULL" if is_last else "FULL",
                    token=part.delta_token if is_last else part.resume_token,
                    parts=state.parts + 1,
                    **self._run_fields(state, part.run),
                )
            )
            # The run's count includes withheld customers, so it is the total only of a copy that has them.
            total = f" of {part.run.customer_count:,}" if state.include_withheld else ""
            self._report(f"part {state.parts}: {table.num_rows:,}{total} customers")
        return state

    def _fetch_changes(self, state: PullState) -> PullState:
        """Fetch the remaining pages of a delta."""
        while state.phase == "DELTA":
            is_first = state.parts == 0
            page = self._client.list_churn_risk_changes(
                state.market,
                page_token="" if is_first else state.token,
                delta_token=state.token if is_first else "",
                page_size=self._page_size,
                locale=state.locale,
                include_withheld=state.include_withheld,
                family=state.family,
            )
            self._write_part(state.parts, page_table(page))
            is_last = page.WhichOneof("next") == "delta_token"
            state = self._save(
                replace(
                    state,
                    phase="APPLY_DELTA" if is_last else "DELTA",
                    token=page.delta_token if is_last else page.next_page_token,
                    parts=state.parts + 1,
                    **self._run_fields(state, page.run),
                )
            )
            changed, removed = len(page.churn_risks), len(page.removed_customers)
            self._report(f"page {state.parts}: {changed:,} changed, {removed:,} removed")
        return state

    def _apply(self, state: PullState) -> PullState:
        """Write the copy from the parts. After an interruption, the next pull repeats this and writes the same copy."""
        parts = [self._read_part(number) for number in range(state.parts)]
        base = CUSTOMER_SCHEMA.empty_table() if state.phase == "APPLY_FULL" else self._read_customers()
        table = copy_table(apply_parts(base, parts), state.market, state.run)
        if state.phase == "APPLY_DELTA":
            self._changed += sum(part.num_rows for part in parts)
            self._removed += sum(len(removed_customers(part)) for part in parts)
        with replace_file(self._to) as temporary:
            write_copy(temporary, self._to.suffix, table)
        state = self._save(replace(state, phase=UP_TO_DATE, parts=0, file_sha256=file_sha256(self._to)))
        shutil.rmtree(self._state_file.parts_folder)
        make_folder(self._state_file.parts_folder)
        return state

    def _save(self, state: PullState) -> PullState:
        """Write the state and return it."""
        self._state_file.write(state)
        return state

    def _read_customers(self) -> pa.Table:
        """Read the customer columns of the copy."""
        return read_copy(self._to, self._to.suffix)

    def _write_part(self, number: int, table: pa.Table) -> None:
        """Write a part durably."""
        with (
            replace_file(self._part_path(number)) as temporary,
            pa.ipc.new_file(str(temporary), table.schema) as file,
        ):
            file.write(table)

    def _read_part(self, number: int) -> pa.Table:
        """Read a part."""
        with pa.ipc.open_file(str(self._part_path(number))) as file:
            return file.read_all()

    def _part_path(self, number: int) -> Path:
        """Return the path of a part's file."""
        return self._state_file.parts_folder / f"{number:06d}.arrow"


def _empty_copy(state: PullState, family: str) -> PullState:
    """Return the state before the first part of a full sync that replaces a copy. The copy keeps its family.

    Args:
        state: The state of the copy.
        family: The family that the caller named, for a copy whose family is unknown.
    """
    return PullState(
        state.market,
        state.locale,
        file_sha256=state.file_sha256,
        include_withheld=state.include_withheld,
        family=state.family or family,
    )
