"""The command `cycle`."""

import datetime as dt
from pathlib import Path

from models.atomic_files import write_file
from models.errors import ModelError
from training.console import Console
from training.cycle.digest import digest_page
from training.cycle.flow import read_flow
from training.cycle.journal import only_cycle
from training.cycle.steps import Cycle
from training.errors import TrainingError

_DIGEST = "digest.html"


def perform_cycle(flow_file: Path, on: dt.date | None, threads: int) -> int:
    """Perform the steps of a cycle that are not completed yet; write its page, and return the exit status.

    Raises:
        CycleRunning: Another cycle of the same folder is running.
    """
    console, flow = Console(threads), read_flow(flow_file)
    with only_cycle(flow.cycles):
        cycle = Cycle(flow, flow_file, on or dt.datetime.now(dt.UTC).date(), console)
        title, page = cycle.spec.title, cycle.journal.folder / _DIGEST
        try:
            result = cycle.run()
        except (TrainingError, ModelError) as error:
            problem = "; ".join(line.strip() for line in str(error).splitlines())
            cycle.findings.sentence = (
                f"The cycle stopped, and continues when it is started again with --on {cycle.journal.on}: {problem}."
            )
            write_file(page, digest_page(title, cycle.journal.on, cycle.findings).encode())
            cycle.journal.finish("STOPPED", sentence=cycle.findings.sentence)
            raise
        write_file(page, digest_page(title, cycle.journal.on, cycle.findings).encode())
        cycle.journal.finish(
            result.name,
            sentence=cycle.findings.sentence,
            checks=cycle.findings.checks,
            comparisons=cycle.findings.comparisons,
        )
    console.info(cycle.findings.sentence)
    console.info(f"wrote the page: {page}")
    return result.value
