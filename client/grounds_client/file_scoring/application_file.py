"""Reads credit applications from a CSV file. Every row is checked before the first one is sent."""

import csv
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grounds_client.client import CreditRequest, Value, parse_value
from grounds_client.errors import ScoringRefused
from grounds_client.money import Amount
from grounds_record.printable_text import escape_line

_REQUIRED = ("market", "customer_id", "amount")
_OPTIONAL = ("request_id", "product", "locale")
_FEATURE, _FACT = "features.", "facts."
_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of the file.

    Attributes:
        line: Number of the line on which the row ends, from 1.
        cells: The cells by column; an empty cell is absent.
    """

    line: int
    cells: Mapping[str, str]

    def request(self, seed: uuid.UUID, product: str, locale: str) -> CreditRequest:
        """Return the request for this row.

        Args:
            seed: Determines the request_id of a row that has none, together with the line.
            product: The product of a row that has none.
            locale: The locale of a row that has none.

        Raises:
            ValueError: A cell is invalid.
        """
        missing = [name for name in _REQUIRED if name not in self.cells]
        if missing:
            raise ValueError(f"{', '.join(missing)}: must not be empty")
        request_id = self.cells.get("request_id", "")
        return CreditRequest(
            market=self.cells["market"],
            customer_id=self.cells["customer_id"],
            amount=_amount(self.cells["amount"]),
            features=self._values(_FEATURE),
            product=self.cells.get("product", product),
            facts=self._values(_FACT),
            locale=self.cells.get("locale", locale),
            request_id=_request_id(request_id) if request_id else str(uuid.uuid5(seed, str(self.line))),
        )

    def _values(self, prefix: str) -> dict[str, Value]:
        """Return the values in the columns whose names begin with a prefix."""
        return {
            name.removeprefix(prefix): parse_value(cell) for name, cell in self.cells.items() if name.startswith(prefix)
        }


def read_rows(path: Path) -> Iterator[FileRow]:
    """Yield the rows of a file that `check_rows` has checked."""
    lines = _read_lines(path)
    _, names = next(lines)
    for line, cells in lines:
        yield _file_row(line, names, cells)


def check_rows(path: Path) -> int:
    """Check the whole file, and return the number of its rows.

    Raises:
        ScoringRefused: The file is not a CSV file with these columns, or a row is invalid. The message lists the first
            20 problems with their lines.
    """
    lines = _read_lines(path)
    _, names = next(lines, (1, []))
    if problems := _header_problems(names):
        raise ScoringRefused("\n".join([f"{path}: line 1:", *(f"  {problem}" for problem in problems)]))
    seed, count = uuid.uuid4(), 0
    for line, cells in lines:
        count += 1
        if problem := _row_problem(line, names, cells, seed):
            problems.append(f"  line {line}: {escape_line(problem)}")
    if problems:
        omitted = len(problems) - _PROBLEMS_SHOWN
        more = [f"  and {omitted} more"] if omitted > 0 else []
        first = f"{path}: {len(problems)} invalid rows, so nothing was sent; correct or remove them:"
        raise ScoringRefused("\n".join([first, *problems[:_PROBLEMS_SHOWN], *more]))
    if not count:
        raise ScoringRefused(f"{path}: has no rows; the first line has the names of the columns")
    return count


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its cells.

    Raises:
        ScoringRefused: The file is not encoded in UTF-8, or is not valid CSV.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ScoringRefused(f"{path}: must be encoded in UTF-8; convert the file") from error
        except csv.Error as error:
            problem = f"{path}: line {reader.line_num}: is not valid CSV: {error}; correct the line"
            raise ScoringRefused(problem) from error


def _file_row(line: int, names: Sequence[str], cells: Sequence[str]) -> FileRow:
    """Return a row that has as many cells as the first line."""
    return FileRow(line, {name: cell for name, cell in zip(names, cells, strict=True) if cell})


def _header_problems(names: list[str]) -> list[str]:
    """Return what is wrong with the column names in the first line of the file."""
    problems = [f"the column {name} is missing" for name in _REQUIRED if name not in names]
    if problems and any(";" in name for name in names):
        problems.append("the separator must be a comma, not a semicolon")
    known = {*_REQUIRED, *_OPTIONAL}
    unknown = [name for name in names if name not in known and not _is_value_column(name)]
    allowed = f"allowed are {', '.join((*_REQUIRED, *_OPTIONAL))}, {_FEATURE}NAME and {_FACT}NAME"
    problems += [f"the column {escape_line(name)!r} is unknown; {allowed}" for name in unknown]
    repeated = sorted({name for name in names if names.count(name) > 1})
    return problems + [f"the column {escape_line(name)} occurs more than once" for name in repeated]


def _is_value_column(name: str) -> bool:
    """Return whether the name of a column is that of a feature or of a fact."""
    return any(name.startswith(prefix) and len(name) > len(prefix) for prefix in (_FEATURE, _FACT))


def _row_problem(line: int, names: list[str], cells: list[str], seed: uuid.UUID) -> str:
    """Return the problem of a row; "" if it has none."""
    if len(cells) != len(names):
        return f"must have {len(names)} cells, as the first line has, got {len(cells)}"
    try:
        _file_row(line, names, cells).request(seed, "", "").to_message()
    except ValueError as error:
        return str(error)
    return ""


def _amount(text: str) -> Amount:
    """Return an amount such as 120000TWD."""
    try:
        return Amount.parse(text)
    except ValueError as error:
        raise ValueError(f"amount: {str(error).removeprefix('amount: ')}") from error


def _request_id(text: str) -> str:
    """Return a request_id in its canonical form."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise ValueError(f"request_id: must be a UUID or empty, got {text!r}") from error
