"""Terminal output of lists of decisions."""

import io

from rich.console import Console

from grounds.audit.v1 import sample_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.terminal.audit import show_decisions

DECISION_ID = "01a2069c-9a81-72fc-ad40-e5128081c8f1"


def test_a_list_of_decisions_is_not_truncated_in_a_narrow_terminal() -> None:
    listed = sample_pb2.DecisionSummary(
        decision_id=DECISION_ID,
        index=4_999_999,
        market="TW",
        bundle_id="7a2de62f2b1a" * 5,
        decision=credit_pb2.DECISION_APPROVE_REDUCED,
        grade="D",
        caller="local",
    )
    paper = Console(file=io.StringIO(), width=60)

    show_decisions(paper, [listed])

    assert isinstance(paper.file, io.StringIO)
    line = next(line for line in paper.file.getvalue().splitlines() if DECISION_ID in line)
    assert [word in line.split() for word in ("4999999", "TW", "APPROVE_REDUCED", "D", "7a2de62f2b1a", "local")] == [
        True
    ] * 6
    assert paper.width == 60
