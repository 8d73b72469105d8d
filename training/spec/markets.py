"""The part of the spec about markets whose data are incomplete."""

from typing import Literal

from pydantic import Field

from training.spec.part import SpecPart


class MarketsSpec(SpecPart):
    """What happens to a market whose data are incomplete.

    A market of a log is incomplete for a snapshot if its lines end before the horizon of the snapshot does. A market is
    incomplete for a scoring run if it has had no lines for longer than ever before; weekends and public holidays do not
    count. A market is too small if it has fewer development rows than `rows_min`.

    Attributes:
        on_problem: With "refuse", the command fails if a market is incomplete or too small. With "leave_out", the
            command omits an incomplete market from the snapshots or the run for which it is incomplete, and a market
            that is too small from the whole fit. The report and the run file list the omitted markets.
        rows_min: Smallest number of development rows (fit and calibration) of a market.
    """

    on_problem: Literal["refuse", "leave_out"] = "refuse"
    rows_min: int = Field(default=0, ge=0)
