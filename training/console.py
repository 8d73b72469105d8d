"""What training says while it works: a progress bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_WIDTH = 120


class Console:
    """Speaks to the person who trains.

    Attributes:
        threads: Threads that fitting may use; no result depends on it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        plain = rich.console.Console()
        self.out = plain if plain.is_terminal else rich.console.Console(width=PLAIN_WIDTH)

    def say(self, line: str) -> None:
        """Say one thing."""
        self.out.print(f"· {line}", markup=False, highlight=False)

    def show(self, table: Table) -> None:
        """Show a table."""
        self.out.print(table)

    @contextmanager
    def steps(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show the progress of work in so many steps; the body gets what to call after each."""
        if not self.out.is_terminal:
            self.say(f"{what}: {total} steps")
            yield lambda _done, _total: None
            return
        columns = (TextColumn("· {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.out, transient=False) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done, _total: progress.update(task, completed=done)
