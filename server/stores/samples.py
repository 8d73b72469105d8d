"""Draws samples of decisions in the order of SHA-256(seed || decision_id).

Every decision of the population has to be read and hashed. A large log is drawn from by several processes, each a part of
the time: they use every processor, behind the server's own work, and the desk does not wait for the interpreter.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from pydantic import TypeAdapter
from sqlalchemy import select

from server.errors import StoreUnavailable
from server.stores.database import Database
from server.stores.draw import Draw, Drawn, Keys, Part, Question, Slice, drawn_from
from server.stores.tables import RECORDS

SLICE_RECORDS = 100_000
ALONE_SLICES = 5  # so many are drawn here: other processes take longer to begin
PART = TypeAdapter(Part)
STRATA = TypeAdapter(list[tuple[tuple[str, ...], int, list[tuple[str, str]]]])
END = 2**62


class Samples:
    """Draws. Its methods may be called from any thread.

    Attributes:
        slice_records: About so many records are read at once.
        alone_slices: From how many slices on other processes help.
    """

    def __init__(
        self, database: Database, slice_records: int = SLICE_RECORDS, alone_slices: int = ALONE_SLICES
    ) -> None:
        self.database, self.slice_records, self.alone_slices = database, slice_records, alone_slices

    def draw(self, question: Question) -> dict[Keys, tuple[int, list[str]]]:
        """Draw from every stratum.

        Returns:
            By stratum, in the order of its values: population and the ids that were drawn, smallest digest first.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        slices = self.slices(question.tree_size)
        if len(slices) <= self.alone_slices:
            draw = drawn_from(self.database, question, slices)
        else:
            draw = self.drawn_by_others(question, slices)
        return {
            stratum: (count, [name.decode() for _, name in draw.first(stratum)])
            for stratum, count in sorted(draw.populations.items())
        }

    def slices(self, tree_size: int) -> list[Slice]:
        """Cut time so that about so many records lie between two cuts; the first and the last hold everything."""
        places = range(self.slice_records, tree_size, self.slice_records)
        wanted = select(RECORDS.c.time_us).where(RECORDS.c.record_index.in_(places))
        with self.database.reading() as connection:
            times = sorted(set(connection.execute(wanted).scalars()))
        return list(pairwise([-END, *times, END]))

    def drawn_by_others(self, question: Question, slices: Sequence[Slice]) -> Draw:
        """Let a process for each processor draw from its part, and draw from what they have drawn."""
        url, count = self.database.engine.url.render_as_string(hide_password=False), os.cpu_count() or 1
        parts = [Part(url, question, tuple(slices[first::count])) for first in range(count)]
        draw = Draw(question)
        with ThreadPoolExecutor(count, thread_name_prefix="sample") as waiting:
            for strata in waiting.map(drawn_elsewhere, parts):
                for stratum, population, drawn in strata:
                    draw.populations[stratum] += population
                    draw.keep(stratum, drawn)
        return draw


def drawn_elsewhere(part: Part) -> list[tuple[Keys, int, list[Drawn]]]:
    """Have a part drawn by another process.

    Raises:
        StoreUnavailable: It did not answer; its own words may hold a password and are not repeated.
    """
    command = [sys.executable, "-m", "server.stores.draw"]
    done = subprocess.run(command, input=PART.dump_json(part), capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise StoreUnavailable("a part of the sample could not be drawn; try again")
    return [
        (stratum, population, [(bytes.fromhex(digest), name.encode()) for digest, name in drawn])
        for stratum, population, drawn in STRATA.validate_json(done.stdout)
    ]
