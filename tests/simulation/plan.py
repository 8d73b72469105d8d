"""The faults of one simulated run, drawn from its seed."""

import random
from dataclasses import dataclass

RUN_SECONDS = 30.0
_FAULTS_MAX = 3
# A kind that is listed twice is drawn twice as often.
KINDS = (
    *("fail", "hang", "kill", "kill", "terminate", "fork", "replace", "delete", "task", "other_server", "log"),
    *("fail", "hang", "kill"),
)


@dataclass(frozen=True, slots=True)
class SimulatedFault:
    """One fault.

    Attributes:
        kind: fail: steps of the database fail at random. hang: a step that begins does not end before the fault does. kill: the
            process dies at a step of the database, or at any other moment. terminate: SIGTERM. fork: the process restarts on
            an older copy of the database. replace, delete: the database file is replaced by a copy or deleted while the process
            runs. task: a background task ends unexpectedly. other_server: another process appends records. log: the
            application log cannot be written.
        at: Time of the fault, in virtual seconds.
        seconds: Duration of the fault, or until the process is started again.
        number: Selects the step, the task, or the copy.
    """

    kind: str
    at: float
    seconds: float
    number: int


def draw_plan(seed: int) -> tuple[SimulatedFault, ...]:
    """Return the faults of a seed, in the order of their times."""
    random_ = random.Random(seed)  # noqa: S311 - draws faults, not secrets
    count = random_.randint(1, _FAULTS_MAX)
    faults = [
        SimulatedFault(
            kind=random_.choice(KINDS),
            at=round(random_.uniform(0, RUN_SECONDS), 3),
            seconds=round(random_.choice((0.2, 3.0, 20.0, 45.0)) * random_.uniform(0.5, 1.0), 3),
            number=random_.randrange(60),
        )
        for _ in range(count)
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))
