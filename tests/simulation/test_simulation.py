"""Seeded runs of the server in virtual time, with injected faults, keep every promise; without a mend, they do not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from tests.simulation.mends import (
    FileBlindApplication,
    ForkBlindApplication,
    PatientApplication,
    UnsupervisedApplication,
)
from tests.simulation.plan import draw_plan
from tests.simulation.process import SimulatedApplication
from tests.simulation.simulation import Template, broken_promise, shrink, simulate
from tests.simulation.template import full_log_disk, write_template
from tests.small import SmallFamily

PART = 50  # seeds in one test
USUAL, ALL = 200, 10_000  # seeds in `make test` and in `make test-long`
TRIES_MAX = 40  # seeds with the right kind of fault until a missing mend must be found


@pytest.fixture(scope="session")
def template(small: SmallFamily, small_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Write the files that every run starts with."""
    return write_template(small, small_database, tmp_path_factory.mktemp("template"))


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let every line of the application log fail."""
    with full_log_disk():
        yield


def parts() -> list[object]:
    """Return the first seed of each part."""
    return [
        pytest.param(
            first,
            marks=[
                pytest.mark.timeout(1200),
                *([] if first < USUAL else [pytest.mark.long]),
            ],
        )
        for first in range(0, ALL, PART)
    ]


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("first", parts())
def test_every_promise_holds_whatever_fails(template: Template, first: int) -> None:
    for seed in range(first, first + PART):
        faults = draw_plan(seed)
        if problem := broken_promise(template, seed, faults):
            needed = shrink(template, seed, faults)
            numbers = ",".join(str(faults.index(fault)) for fault in needed)
            pytest.fail(
                f"{problem}\nfaults that are needed: {needed}\nreplay: python -m tests.simulation {seed} --faults {numbers}"
            )


@pytest.mark.usefixtures("full_disk")
def test_a_seed_is_replayed_exactly(template: Template) -> None:
    for seed in (3, 11):
        assert simulate(template, seed, draw_plan(seed)) == simulate(template, seed, draw_plan(seed))


def first_broken(template: Template, kinds: set[str]) -> tuple[str, set[str]]:
    """Return the first promise that is broken by a seed with one of these kinds of faults, and the kinds that it needs."""
    seeds = (seed for seed in range(ALL) if kinds & {fault.kind for fault in draw_plan(seed)})
    for _, seed in zip(range(TRIES_MAX), seeds, strict=False):
        faults = draw_plan(seed)
        if problem := broken_promise(template, seed, faults):
            return problem, {fault.kind for fault in shrink(template, seed, faults)}
    return "", set()


@pytest.mark.usefixtures("full_disk")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("without", "kinds", "promise"),
    [
        pytest.param(ForkBlindApplication, {"fork"}, "lost", id="fork check"),
        pytest.param(
            FileBlindApplication, {"replace", "delete"}, "has no record|without the database file", id="files"
        ),
        pytest.param(PatientApplication, {"hang"}, "not answered in time", id="time limits"),
        pytest.param(UnsupervisedApplication, {"task"}, "health is|was not answered", id="supervision"),
    ],
)
def test_the_simulation_finds_what_a_missing_mend_lets_through(
    template: Template, without: type[SimulatedApplication], kinds: set[str], promise: str
) -> None:
    problem, needed = first_broken(replace(template, application=without), kinds)

    assert any(words in problem for words in promise.split("|")), problem
    assert needed
    assert needed <= kinds


class FullDisk:
    """A file whose writes fail while the disk is full."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def write(self, _text: str) -> None:
        """Write a line."""
        if self._template.disk_full.is_set():
            raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Flush the file."""


@pytest.mark.timeout(600)
def test_the_simulation_finds_a_failing_application_log_that_is_not_caught(template: Template) -> None:
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(FullDisk(template)))  # type: ignore[arg-type]
    try:
        problem, needed = first_broken(template, {"log"})
    finally:
        structlog.configure(**before)

    assert "a call ended with" in problem, problem
    assert needed == {"log"}
