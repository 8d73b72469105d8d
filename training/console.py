"""Console output of training: a progress bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from grounds_record.printable_text import escape_line, escape_text

_PLAIN_WIDTH = 120
_PROGRESS_SECONDS = 5.0


class _PlainConsole(rich.console.Console):
    """A console that does not interpret markup or escape sequences in strings, e.g. in names that come from data."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text, with its hidden characters escaped."""
        return super().render_str(escape_text(text), **{**options, "markup": False, "emoji": False})


class Console:
    """Prints messages, tables and progress.

    Attributes:
        threads: Number of threads for fitting; no result depends on it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        detected = _PlainConsole()
        self._console = detected if detected.is_terminal else _PlainConsole(width=_PLAIN_WIDTH)

    def info(self, line: str) -> None:
        """Print one line."""
        self._console.print(f"· {escape_line(line)}", highlight=False)

    def print_table(self, table: Table) -> None:
        """Print a table."""
        self._console.print(table)

    def progress_reporter(self) -> Callable[[int, int, str], None]:
        """Return a function of (completed, total, stage) that prints progress.

        The function prints a line when a stage begins. During a stage, the function prints at most one line per 5
        seconds.
        """
        stages, times = [""], [0.0]

        def report(done: int, total: int, stage: str) -> None:
            now = time.monotonic()
            if stage != stages[0] or now - times[0] >= _PROGRESS_SECONDS:
                self.info(f"{stage}: {done:,} of {total:,} customers" if total else stage)
                stages[0], times[0] = stage, now

        return report

    @contextmanager
    def progress_bar(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show a progress bar while the block runs; yield a function of (completed, total) to call after each step."""
        if not self._console.is_terminal:
            self.info(f"{what}: {total} steps")
            yield lambda _done, _total: None
            return
        columns = (TextColumn("· {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=False) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done, _total: progress.update(task, completed=done)
