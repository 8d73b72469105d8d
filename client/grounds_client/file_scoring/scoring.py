"""`FileScoring`: requests a decision for each row of a CSV file, in batches. An interrupted run continues.

The answers are appended to a file TO.part, which becomes TO when all rows have an answer. The state file TO.state.json is
written before the first request. It contains a random seed from which the request_id of each row follows, so a
run that continues repeats the request_ids of the interrupted one, and the server decides no row twice.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import grpc

from grounds_client.client import BATCH_REQUESTS_MAX, Client, CreditRequest
from grounds_client.errors import CallFailed, ScoringRefused
from grounds_client.file_scoring.answer_file import AnsweredRow, AnswerFile, count_answers
from grounds_client.file_scoring.application_file import check_rows, read_rows
from grounds_client.files import file_sha256, hold_lock
from grounds_record.private_files import replace_file

_FORMAT = 1
_BATCH_BYTES_MAX = 200_000  # the server's limit is 262,144 bytes by default
_PATIENCE_SECONDS = 60.0  # so long the server may be unavailable, for example while it is restarted
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.2, 5.0  # before the second attempt; each further pause is twice as long
# The server could not answer now. Any other error concerns the row itself, and would be the same after a retry.
_RETRIED_REASONS = {"STORE_UNAVAILABLE", "SERVER_BUSY", "DRAINING", "OVERLOADED", "RATE_EXCEEDED"}
_RETRIED_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


@dataclass(frozen=True, slots=True)
class FileScoringResult:
    """The result of a run.

    Attributes:
        decisions: Number of rows by decision, such as APPROVE.
        errors: Number of rows without a decision, by the reason of their error.
    """

    decisions: Counter[str]
    errors: Counter[str]


@dataclass(frozen=True, slots=True)
class _State:
    """The content of the state file.

    Attributes:
        applications_sha256: SHA-256 of the application file.
        product: The product of rows that have none.
        locale: The locale of rows that have none.
        seed: UUID that determines the request_ids.
        finished: Whether all rows have an answer.
    """

    applications_sha256: str
    product: str
    locale: str
    seed: str
    finished: bool = False


class FileScoring:
    """One run from an application file to an answer file.

    Args:
        client: A client of the server.
        applications: Path of the application file.
        to: Path of the answer file. The files TO.part, TO.state.json and TO.lock are next to it.
        report: A function that is called with the number of rows that have an answer and the number of all rows.
    """

    def __init__(self, client: Client, applications: Path, to: Path, report: Callable[[int, int], None]) -> None:
        self._client, self._applications, self._to, self._report = client, applications, to, report
        self._part = to.with_name(to.name + ".part")
        self._state_path = to.with_name(to.name + ".state.json")
        self._batch_max = BATCH_REQUESTS_MAX

    def run(self, product: str = "", locale: str = "") -> FileScoringResult:
        """Request decisions for all rows that have none yet, and write the answer file.

        If an earlier run has answered all rows of this application file, nothing is requested.

        Args:
            product: The product of rows that have none.
            locale: The locale of rows that have none.

        Raises:
            ScoringRefused: The application file is invalid, or the answer file belongs to something else.
            CallFailed: The server did not answer. Another run continues after the last answer.
        """
        refusal = ScoringRefused(f"another run writes {self._to}; wait for it to end")
        with hold_lock(self._to.with_name(f"{self._to.name}.lock"), refusal):
            count = check_rows(self._applications)
            state = self._start(_State(file_sha256(self._applications), product, locale, str(uuid.uuid4())))
            if not state.finished:
                self._answer_rows(state, count)
                self._finish(state)
            decisions, errors = count_answers(self._to)
        return FileScoringResult(decisions, errors)

    def _start(self, new: _State) -> _State:
        """Return the state of the interrupted or finished run, or write the state of a new run."""
        state = self._read_state()
        if state is None:
            if self._to.exists() or self._part.exists():
                raise ScoringRefused(f"{self._to} or {self._part} exists; choose a different file with --to")
            self._write_state(new)
            return new
        known = (state.applications_sha256, state.product, state.locale)
        if known != (new.applications_sha256, new.product, new.locale):
            raise ScoringRefused(
                f"{self._state_path}: belongs to a run with a different application file, --product or --locale; choose a "
                "different file with --to"
            )
        if state.finished and not self._to.exists():
            raise ScoringRefused(
                f"{self._to}: was deleted after its run; choose a different file with --to, or delete {self._state_path} to "
                "request new decisions"
            )
        return state

    def _read_state(self) -> _State | None:
        """Read the state; return None if the file does not exist."""
        if not self._state_path.exists():
            return None
        try:
            values = json.loads(self._state_path.read_text(encoding="utf-8"))
            found, state = values.pop("format"), _State(**values)
            uuid.UUID(state.seed)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ScoringRefused(
                f"{self._state_path}: is not the state of a run; choose a different file with --to"
            ) from error
        if found != _FORMAT:
            raise ScoringRefused(f"{self._state_path}: unsupported format; choose a different file with --to")
        return state

    def _write_state(self, state: _State) -> None:
        """Replace the state durably."""
        with replace_file(self._state_path) as temporary:
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(state)}), encoding="utf-8")

    def _answer_rows(self, state: _State, count: int) -> None:
        """Append the answers of all rows that have none yet."""
        seed = uuid.UUID(state.seed)
        # A run that was killed after it had renamed the file has answered all rows.
        if self._to.exists() and not self._part.exists():
            return
        with AnswerFile(self._part) as answers:
            rows = ((row.line, row.request(seed, state.product, state.locale)) for row in read_rows(self._applications))
            waiting = list(islice(islice(rows, answers.rows, None), self._batch_max))
            self._report(answers.rows, count)
            while waiting:
                answered = self._answer_batch(waiting[: self._batch_size(waiting)])
                answers.append(answered)
                self._report(answers.rows, count)
                waiting = waiting[len(answered) :]
                waiting += islice(rows, max(0, self._batch_max - len(waiting)))

    def _finish(self, state: _State) -> None:
        """Rename the complete file of answers, then mark the run as finished."""
        if file_sha256(self._applications) != state.applications_sha256:
            raise ScoringRefused(
                f"{self._applications}: was changed while it was read; restore it, then run the command again"
            )
        if self._part.exists():
            self._part.replace(self._to)
        self._write_state(_State(state.applications_sha256, state.product, state.locale, state.seed, finished=True))

    def _batch_size(self, waiting: Sequence[tuple[int, CreditRequest]]) -> int:
        """Return how many of the waiting rows fit into one batch."""
        size = 0
        for count, (_, request) in enumerate(waiting[: self._batch_max]):
            size += request.to_message().ByteSize()
            if size > _BATCH_BYTES_MAX:
                return max(1, count)
        return min(len(waiting), self._batch_max)

    def _answer_batch(self, rows: Sequence[tuple[int, CreditRequest]]) -> list[AnsweredRow]:
        """Send rows as one batch, or fewer of them if the batch is too large; return the answers of the first one or more rows.

        Raises:
            CallFailed: The server did not answer the first row within a minute, or rejects every call.
        """
        pause, give_up_at = _PAUSE_SECONDS, time.monotonic() + _PATIENCE_SECONDS
        while True:
            answered, failure = self._try_batch(rows)
            if answered:
                return answered
            assert failure is not None, "a batch without answers has failed"
            if _is_too_large(failure) and len(rows) > 1:
                rows = rows[: len(rows) // 2]
                self._batch_max = len(rows)
                continue
            if not _is_retried(failure) or time.monotonic() > give_up_at:
                raise failure
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def _try_batch(self, rows: Sequence[tuple[int, CreditRequest]]) -> tuple[list[AnsweredRow], CallFailed | None]:
        """Send a batch once; return the answers up to the first row that the server could not answer, and its error."""
        answered: list[AnsweredRow] = []
        try:
            results = self._client.batch_score_credit([request for _, request in rows])
            for (line, request), answer in zip(rows, results, strict=True):
                if isinstance(answer, CallFailed) and _is_retried(answer):
                    return answered, answer
                answered.append(AnsweredRow(line, request, answer))
        except CallFailed as error:
            return answered, error
        return answered, None


def _is_too_large(error: CallFailed) -> bool:
    """Return whether the batch has more bytes than the server accepts.

    gRPC itself rejects a batch that is much too large, without a reason.
    """
    return error.reason == "REQUEST_TOO_LARGE" or (
        error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason
    )


def _is_retried(error: CallFailed) -> bool:
    """Return whether a retry may succeed."""
    return error.reason in _RETRIED_REASONS or error.code in _RETRIED_CODES
