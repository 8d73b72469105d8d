"""What training says while it works: a progress bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_PLAIN_WIDTH = 120
_PROGRESS_SECONDS = 5.0


class Console:
    """Speaks to the person who trains.

    Attributes:
        threads: Threads that fitting may use; no result depends on it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        plain = rich.console.Console()
        self._console = plain if plain.is_terminal else rich.console.Console(width=_PLAIN_WIDTH)

    def info(self, line: str) -> None:
        """Say one thing."""
        self._console.print(f"· {line}", markup=False, highlight=False)

    def print_table(self, table: Table) -> None:
        """Show a table."""
        self._console.print(table)

    def progress_reporter(self) -> Callable[[int, int, str], None]:
        """Give what says how far work on many rows is: a line for each stage, and then at most one in some seconds."""
        stages, times = [""], [0.0]

        def say(done: int, total: int, stage: str) -> None:
            now = time.monotonic()
            if stage != stages[0] or now - times[0] >= _PROGRESS_SECONDS:
                self.info(f"{stage}: {done:,} of {total:,} customers" if total else stage)
                stages[0], times[0] = stage, now

        return say

    @contextmanager
    def progress_bar(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show the progress of work in so many steps; the body gets what to call after each."""
        if not self._console.is_terminal:
            self.info(f"{what}: {total} steps")
            yield lambda _done, _total: None
            return
        columns = (TextColumn("· {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=False) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done, _total: progress.update(task, completed=done)
