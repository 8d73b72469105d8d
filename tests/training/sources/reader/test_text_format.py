"""The format of a text file is detected and reported, or the file is rejected with one sentence."""

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather, orc

from training.errors import DataInvalid
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.spec.reading import ReadingSpec

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
GERMAN = "Kunde;Umsatz Größe\r\n0001;1.234,56\r\n0002;3,5\r\n"
GERMAN_ROWS = [("0001", "1.234,56"), ("0002", "3,5")]


def zstd(data: bytes) -> bytes:
    """Return data compressed with Zstandard."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def open_bytes_as(folder: Path, data: bytes, name: str = "table.csv", **fields: Any) -> RawTable:
    """Write bytes to a file, and open the file as a table; `fields` are fields of the spec."""
    (folder / name).write_bytes(data)
    return open_file(folder / name, ReadingSpec(**fields), folder)


def rows_of(table: RawTable, folder: Path) -> list[tuple[Any, ...]]:
    """Return all rows of a table."""
    with duckdb.connect() as connection:
        return read_strictly(table, folder, lambda raw: connection.execute(f"SELECT * FROM {raw.sql}").fetchall())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".zst", zstd),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".CSV", gzip.compress),
    ],
)
def test_a_german_file_is_read_in_every_encoding_and_compression(
    encoding: str, suffix: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    table = open_bytes_as(tmp_path, compress(GERMAN.encode(encoding)), f"table.csv{suffix}")

    assert [column.name for column in table.columns] == ["Kunde", "Umsatz Größe"]
    assert rows_of(table, tmp_path) == GERMAN_ROWS
    assert table.confirmation.startswith(
        f"table.csv{suffix}: read as text with 2 columns: separator ';', decimal ',', "
    )


@pytest.mark.parametrize(
    ("encoding", "word"), [("cp1252", "Größe"), ("cp850", "Gr”áe"), ("mac_roman", "Grš§e"), ("cp1250", "Größe")]
)
def test_an_assumed_encoding_is_confirmed_with_a_word_by_which_a_person_can_judge_it(
    encoding: str, word: str, tmp_path: Path
) -> None:
    data = GERMAN.encode(encoding)
    assumed = open_bytes_as(tmp_path, data)
    assert assumed.confirmation.endswith(f"encoding cp1252 (assumed: {word!r} must be a word, otherwise set encoding)")
    russian = open_bytes_as(tmp_path, "Клиент;x\n€;1\n".encode("cp1251"))
    assert "(assumed: 'Êëèåíò' must be a word" in russian.confirmation
    stated = open_bytes_as(tmp_path, data, encoding=encoding)
    assert rows_of(stated, tmp_path) == GERMAN_ROWS
    assert "assumed" not in stated.confirmation


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"sep=|\r\na|b\r\n1|2\r\n", [("1", "2")]),
        (b"a\tb\n1\t2,5\n", [("1", "2,5")]),
        (b"a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
        (b"a,b\r\n1,2\n3,4\r\n5,6", [("1", "2"), ("3", "4"), ("5", "6")]),
        (b'a,b\n1,"x\ny"\n\n3,"say ""hi"""\n', [("1", "x\ny"), ("3", 'say "hi"')]),
        (b"a\n1\n\n3\n", [("1",), (None,), ("3",)]),
        (b"a,A,\n1,2,3\n", [("1", "2", "3")]),
    ],
)
def test_unusual_files_are_read_exactly(data: bytes, expected: list[tuple[str, ...]], tmp_path: Path) -> None:
    assert rows_of(open_bytes_as(tmp_path, data), tmp_path) == expected


INVALID = {
    "two separators": (b"a,b;c\n1,2;3\n", {}, "the separator may be ',' and ';'; set separator in the spec"),
    "an ambiguous number": (b"a;b\n1;1.234\n2;500\n", {}, "set decimal = '.' or thousands = '.' in the spec"),
    "two kinds of numbers": (
        b"a;b\n1;1,5\n2;2.5\n",
        {},
        "numbers are written in two ways: '1,5' in column 'b' and '2.5'",
    ),
    "duplicate names": (b"a,b,a\n1,2,3\n", {}, "duplicate columns in the header: 'a' (columns 1, 3)"),
    "no header": (b"", {}, "the file has no header"),
    "irregular lines": (
        b"a,b\n1,2\n3\n4,5,6\n",
        {},
        "line 3 has 1 values, but the header has 2 columns; 2 lines are irregular",
    ),
    "an open quotation": (b'a,b\n1,"2\n3,4\n', {}, "line 2: a quoted cell is malformed"),
    "text after a quotation": (b'a,b\n1,2\n1,"x"y\n', {}, "line 3: a quoted cell is malformed"),
    "two encodings": ("a,b\n1,ä\n".encode() + b"2,\xe4\n", {}, "a part of the file is UTF-8 and another part is not"),
    "a wrong encoding": (b"a,b\n1,\xe4\n", {"encoding": "utf-8"}, "line 2 is not valid utf-8; set encoding"),
    "a wrong compression": (b"a,b\n1,2\n", {"compression": "gzip"}, "cannot be read with compression = 'gzip'"),
    "a truncated archive": (gzip.compress(b"a,b\n1,2\n" * 1000)[:40], {}, "the file is damaged"),
    "an Excel workbook": (
        b"PK\x03\x04",
        {},
        "the file is an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_file_that_cannot_be_read_is_rejected_in_one_sentence(case: str, tmp_path: Path) -> None:
    data, fields, message = INVALID[case]

    with pytest.raises(DataInvalid) as refused:
        rows_of(open_bytes_as(tmp_path, data, **fields), tmp_path)

    assert str(refused.value).startswith("table.csv: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def write_stata(path: Path) -> None:
    """Write a table as a Stata file."""
    FRAME.to_stata(path, write_index=False)


def write_database(path: Path) -> None:
    """Write a table into a DuckDB database."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "an ORC file": lambda path: orc.write_table(pa.table({"a": [1]}), str(path)),
    "an Arrow file": lambda path: feather.write_feather(pa.table({"a": [1]}), str(path)),
    "a Stata file": write_stata,
    "a Python pickle": FRAME.to_pickle,
    "a NumPy file": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}"),
    "a JSON file": lambda path: FRAME.to_json(path, orient="records", indent=2),
    "an HTML or XML document": FRAME.to_html,
    "a DuckDB database": write_database,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_format_is_called_by_its_name(kind: str, tmp_path: Path) -> None:
    FOREIGN[kind](tmp_path / "table.csv")

    with pytest.raises(DataInvalid, match=f"the file is {kind}; "):
        open_file(tmp_path / "table.csv", ReadingSpec(), tmp_path)


@pytest.mark.parametrize(
    ("header", "separator"), [("ORCID,b", ","), ("<TICKER>,<DATE>", ","), ("BZh9,b", ","), ("<a>\t<b>", "\t")]
)
def test_a_text_whose_header_begins_like_another_format_is_read(header: str, separator: str, tmp_path: Path) -> None:
    table = open_bytes_as(tmp_path, f"{header}\n1{separator}2\n".encode())

    assert rows_of(table, tmp_path) == [("1", "2")]


def test_a_cell_that_is_too_long_is_called_by_its_length(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"line 2: a cell is longer than 2,097,152 characters; remove the column"):
        rows_of(open_bytes_as(tmp_path, b"a,b\n1," + b"x" * (1 << 21) + b"y\n"), tmp_path)


def test_the_fields_of_the_spec_take_precedence_over_the_detection(tmp_path: Path) -> None:
    table = open_bytes_as(tmp_path, b"a,b;c\n1,2;3\n", separator=";", decimal=",", thousands=".", encoding="latin-1")

    assert rows_of(table, tmp_path) == [("1,2", "3")]
    assert (table.numbers.decimal, table.numbers.thousands) == (",", ".")


def test_the_place_of_a_record_is_its_first_line_even_after_quoted_line_ends(tmp_path: Path) -> None:
    table = open_bytes_as(tmp_path, b'"a\nb",c\n1,"x\ny\nz"\n\n3,4\n')

    assert table.places([1, 2]) == ["line 3", "line 7"]


def test_parquet_is_recognised_by_its_content_and_names_may_differ_in_case_only(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [2**62 + 1, None], "A": ["x", "y"]}), tmp_path / "table.PARQUET")
    table = open_file(tmp_path / "table.PARQUET", ReadingSpec(), tmp_path)

    assert rows_of(table, tmp_path) == [(2**62 + 1, "x"), (None, "y")]
    assert [column.name for column in table.columns] == ["a", "A"]
    assert table.places([2]) == ["row 2"]


def test_a_byte_that_is_cut_between_two_chunks_is_still_utf8(tmp_path: Path) -> None:
    line = "ä" * 99 + ",1\n"
    data = ("a,b\nx" + "," + "1\n" + line * 9000).encode()
    table = open_bytes_as(tmp_path, data)

    assert len(data) > 1 << 20
    assert ", encoding utf-8" in table.confirmation
    assert not data.startswith(codecs.BOM_UTF8)


@pytest.mark.parametrize("tail", ["1,234,", "1,234,,", '1,234,""', "1,234,,,,", '"1",234,'])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "compress"), [("utf-8", bytes), ("utf-8", gzip.compress), ("utf-8", zstd), ("cp1252", bytes)]
)
def test_additional_empty_cells_at_the_end_of_a_late_line_are_rejected_with_the_line(
    encoding: str, compress: Callable[[bytes], bytes], line_end: str, tail: str, tmp_path: Path
) -> None:
    """The amount 1,234 without quotation marks moves the later cells of its line to the right."""
    lines = ["kunde,größe,x,y", *["A,1,2,"] * 4_000, f"B,1,{tail}", "C,1,2,3"]
    table = open_bytes_as(tmp_path, compress("".join(line + line_end for line in lines).encode(encoding)))

    with pytest.raises(
        DataInvalid, match=rf"line 4,002 has {tail.count(',') + 3} values, but the header has 4 columns"
    ):
        rows_of(table, tmp_path)


def test_empty_cells_are_missing_with_and_without_quotation_marks_in_every_column(tmp_path: Path) -> None:
    data = 'a,b,c\n,"",\n"",,""\n1,"two\nlines",\n"\n",x,y\n'

    assert rows_of(open_bytes_as(tmp_path, data.encode()), tmp_path) == [
        (None, None, None),
        (None, None, None),
        ("1", "two\nlines", None),
        ("\n", "x", "y"),
    ]
