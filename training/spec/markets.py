"""The part of the spec about markets whose data are incomplete."""

from typing import Literal

from pydantic import Field

from training.spec.part import SpecPart


class MarketsSpec(SpecPart):
    """What happens to a market whose data are incomplete.

    A market of a log is incomplete if the pause after its last line is longer than every earlier pause between two of its
    lines. For a snapshot, this pause lasts until the horizon ends; for a scoring run, it lasts until the date of the run.
    Days on which no lines are expected, such as weekends and public holidays, do not count. A market is too small if it has fewer development rows than `rows_min`.

    Attributes:
        on_problem: With "refuse", the command fails if a market is incomplete or too small. With "leave_out", the
            command omits an incomplete market from the snapshots or the run for which it is incomplete, and a market
            that is too small from the whole fit. The report and the run file list the omitted markets.
        rows_min: Smallest number of development rows (fit and calibration) of a market.
    """

    on_problem: Literal["refuse", "leave_out"] = "refuse"
    rows_min: int = Field(default=0, ge=0)
