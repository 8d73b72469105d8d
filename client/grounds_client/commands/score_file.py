"""The part of `grounds score` that scores a file."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from grounds_client.commands.connection import connect
from grounds_client.commands.output import print_message
from grounds_client.file_scoring import FileScoring
from grounds_client.terminal.console import make_console


def score_file(applications: Path, to: Path, *, product: str, locale: str, address: str) -> None:
    """Request a decision for each row of a file, and print how many rows have which answer."""
    with connect(address) as client, _progress_reporter() as report:
        result = FileScoring(client, applications, to, report).run(product, locale)
    print_message(f"{to}: {sum(result.decisions.values()):,} decisions{_by_name(result.decisions)}")
    if result.errors:
        print_message(
            f"{sum(result.errors.values()):,} rows have no decision{_by_name(result.errors)}; the columns error and "
            "message state why",
            err=True,
        )


def _by_name(counts: Counter[str]) -> str:
    """Return counts as text, the largest first."""
    return f": {', '.join(f'{count:,} {name}' for name, count in counts.most_common())}" if counts else ""


@contextmanager
def _progress_reporter() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many rows have an answer: as a bar on a terminal, otherwise one line at the start."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield _report_start()
        return
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _report_start() -> Callable[[int, int], None]:
    """Return a function that prints one line when it is called for the first time."""
    is_new = True

    def report(done: int, total: int) -> None:
        nonlocal is_new
        if is_new:
            print_message(f"{total:,} rows; {done:,} have an answer from an earlier run", err=True)
        is_new = False

    return report
