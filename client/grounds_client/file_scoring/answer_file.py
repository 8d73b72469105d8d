"""Writes answers to a CSV file, row by row, so that an interrupted run can continue after the last complete row."""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from grounds.credit.v1 import credit_pb2
from grounds_client.client import CreditRequest
from grounds_client.errors import CallFailed
from grounds_client.formatting import decision_name
from grounds_client.money import Amount
from grounds_record.printable_text import escape_line

_COLUMNS = (
    *("line", "request_id", "market", "customer_id", "amount", "decision", "decision_id"),
    *("score", "grade", "pd", "approvable_amount", "reason_codes", "reasons", "error", "message"),
)
_DECISION, _ERROR = _COLUMNS.index("decision"), _COLUMNS.index("error")


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row of the application file with its answer.

    Attributes:
        line: Number of the line in the application file.
        request: The request.
        answer: The decision, or the error.
    """

    line: int
    request: CreditRequest
    answer: credit_pb2.CreditDecision | CallFailed

    def cells(self) -> list[str]:
        """Return the cells of the row in the answer file. No cell contains a line break, so a row is one line."""
        request, answer = self.request, self.answer
        asked = [str(self.line), request.request_id, request.market, request.customer_id]
        amount = f"{request.amount.value}{request.amount.currency}"
        if isinstance(answer, CallFailed):
            known = ["", "", "", "", "", "", "", "", answer.reason or answer.code.name, answer.message]
        else:
            assessment = answer.assessment
            output, granted = assessment.model_output, assessment.policy_result.approvable_amount
            reasons = assessment.reasons.reasons
            scored = assessment.HasField("model_output")
            known = [
                decision_name(answer.decision),
                answer.record_ref.decision_id,
                *([str(output.score), output.grade, repr(output.pd)] if scored else ["", "", ""]),
                _amount_text(Amount.from_money(granted)) if granted.currency_code else "",
                " ".join(reason.code for reason in reasons),
                "; ".join(reason.text for reason in reasons),
                "",
                "",
            ]
        return [escape_line(cell) for cell in (*asked, amount, *known)]


def _amount_text(amount: Amount) -> str:
    """Return an amount as the application file writes it, such as 120000TWD."""
    return f"{amount.value.normalize():f}{amount.currency}"


class AnswerFile:
    """A file of answers that grows row by row. Use it in a `with` block.

    Attributes:
        rows: Number of complete rows in the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and remove an incomplete last line. If the file does not exist, create it with mode 0600."""
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "r+b")
        lines, end = 0, 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            lines, end = lines + 1, end + len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if not lines:
            self._write([_COLUMNS])
        self.rows = max(0, lines - 1)

    def __enter__(self) -> "AnswerFile":  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, answered: Sequence[AnsweredRow]) -> None:
        """Append rows, and wait until they are on the disk."""
        self._write([row.cells() for row in answered])
        self.rows += len(answered)

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        """Write rows as CSV, and hand them to the operating system."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def count_answers(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Return how many rows of an answer file have each decision, and how many have each error."""
    decisions, errors = Counter[str](), Counter[str]()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for cells in reader:
            if cells[_ERROR]:
                errors[cells[_ERROR]] += 1
            else:
                decisions[cells[_DECISION]] += 1
    return decisions, errors
