"""A quotation mark that joins several lines to one record is rejected, and cells of several lines are read."""

import datetime as dt
import gzip
from pathlib import Path

import pytest

from training.errors import DataInvalid
from training.scoring.campaign import read_suppressions
from training.sources.transaction_log import SourcePaths, open_transaction_log, temporary_database
from training.spec import LogSpec

HEADER = ["number", "day", "amount", "note", "shop"]
LINES = [["A", "2025-01-01", "5", "x", "s"], ["B", "2025-01-02", "6", "y", "s"], ["C", "2025-01-03", "7", "z", "s"]]


def amounts(folder: Path, text: str, name: str = "log.csv") -> list[str]:
    """Write a log and return its amounts."""
    (folder / name).parent.mkdir(exist_ok=True)
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    columns = {"customer_id": "number", "time": "day", "amount": "amount * 1" if "expression" in name else "amount"}
    content = {
        "path": name.partition("/")[0],
        "market": "DE",
        "currency": "EUR",
        "duplicates": "keep",
        "columns": columns,
    }
    with open_transaction_log(LogSpec.model_validate(content), None, SourcePaths(folder), 1) as log:
        found = log.connection.execute("SELECT CAST(amount AS VARCHAR) FROM valid_lines ORDER BY amount").fetchall()
    return [amount for (amount,) in found]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "expression.csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
@pytest.mark.parametrize(("column", "last"), [(0, 1), (2, 1), (3, 1), (3, 2), (4, 2)])
def test_a_quotation_mark_that_joins_lines_is_rejected(
    column: int, last: int, separator: str, end: str, name: str, tmp_path: Path
) -> None:
    """The amounts of the joined lines would be lost without a word."""
    lines = [list(line) for line in LINES] + [["D", "2025-01-04", "8", "", "s"]]
    lines[0][column] = '"' + lines[0][column]
    lines[last][column] += '"'
    text = "".join(separator.join(line) + end for line in [HEADER, *lines])

    with pytest.raises(DataInvalid, match=rf"column '{HEADER[column]}': .* in line 2 of {name}"):
        amounts(tmp_path, text, name)


@pytest.mark.parametrize(
    "note", ["Street 1\nTown", "a, b, c\nd, e, f", "a,b\nc", "1\n\n2", "x,y,z,u,v\n", '5"" pipe\n, and more']
)
def test_a_cell_of_several_lines_is_read(note: str, tmp_path: Path) -> None:
    lines = [[*line[:3], f'"{note}"', line[4]] for line in LINES]
    assert amounts(tmp_path, "".join(",".join(line) + "\n" for line in [HEADER, *lines])) == ["5.00", "6.00", "7.00"]


def test_joined_lines_of_one_of_several_files_are_rejected(tmp_path: Path) -> None:
    text = ",".join(HEADER) + "\n" + "".join(",".join(line) + "\n" for line in LINES)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.csv").write_text(text)
    joined = text.replace(",x,", ',"x,').replace(",y,", ',y",')

    with pytest.raises(DataInvalid, match=r"a quoted cell in line 2 of b\.csv has the text of several lines"):
        amounts(tmp_path, joined, "log/b.csv")


def test_a_quotation_mark_does_not_lift_suppressions(tmp_path: Path) -> None:
    """The customers of the joined lines would be contacted."""
    rows = 'market,customer_id,code,note\nDE,A,DO_NOT_CONTACT,"x\nDE,B,DO_NOT_CONTACT,y"\n'
    (tmp_path / "suppressed.csv").write_text(rows)

    with (
        temporary_database(1) as connection,
        pytest.raises(DataInvalid, match=r"a quoted cell in line 2 of suppressed\.csv has the text of several lines"),
    ):
        read_suppressions(connection, tmp_path / "suppressed.csv", dt.date(2026, 1, 1))
