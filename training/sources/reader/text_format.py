"""Detects the format of a file: its kind, compression, encoding, separator and header.

A field of the spec takes precedence over the detection. If the detection has no unique result, the file is rejected,
and the message states the field to set.
"""

import bz2
import codecs
import csv
import gzip
import hashlib
import io
import itertools
import lzma
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa

from training.errors import DataInvalid, quote_name, shorten_list
from training.spec.reading import Compression, ReadingSpec

_CHUNK_BYTES = 1 << 20
_LINE_FEED = 10
_ASSUMED = "cp1252"  # the encoding of a text that is not UTF-8 and whose encoding nobody states
_MAGIC_BYTES = 16  # longer than every pattern of a compression
_WORD_BYTES = 30
_FOREIGN_WORD = rb"[A-Za-z]+[\x80-\xff][A-Za-z\x80-\xff]*|[\x80-\xff]+[A-Za-z\x80-\xff]+"  # not a lone sign such as €
SAMPLE_RECORDS = 2000
_NAMES_SHOWN = 10
_COLUMNS_MAX = 10_000
_SEPARATORS = (",", ";", "\t", "|")
# In cp1252 text, letters rarely happen to form a valid UTF-8 sequence: at most once per this number of other letters.
_LONE_BYTES_OF_CP1252 = 20
_UTF8_SEQUENCE = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
_CELL_CHARACTERS = 1 << 21  # DuckDB's maximum length of a line
_SEPARATOR_NAMES = {"\t": "tab", " ": "space"}
# Patterns of the first bytes. A text may begin with the letters of a format, such as a header with ORCID or <TICKER>.
_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (rb"\x1f\x8b", "gzip"),
    (rb"\x28\xb5\x2f\xfd", "zstd"),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "bz2"),
    (rb"\xfd7zXZ\x00", "xz"),
)
_FOREIGN_FORMATS = {
    rb"PK\x03\x04": "an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8, or unpack the archive",
    rb"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV UTF-8",
    rb"ARROW1|FEA1": "an Arrow file; write it as Parquet",
    rb"Obj\x01": "an Avro file; write it as Parquet",
    rb"ORC[^ -~]": "an ORC file; write it as Parquet",
    rb"\s*(?:\{\s*\"|\[\s*[\[{])": "a JSON file; write it as CSV UTF-8 or Parquet",
    rb"<stata_dta>|[\x71-\x73][\x01\x02]\x01\x00": "a Stata file; write it as CSV UTF-8 or Parquet",
    rb"\$FL[23]@": "an SPSS file; write it as CSV UTF-8 or Parquet",
    rb"\x00{12}\xc2\xea\x81\x60": "an SAS file; write it as CSV UTF-8 or Parquet",
    rb"(?i)<(?:\?xml|!|html|head|body|table|meta|[^<>]*>[ \r\n]*<)": "an HTML or XML document; export the table as CSV UTF-8",
    rb"\x80[\x02-\x05][(}\]\x95c]": "a Python pickle; write it as Parquet",
    rb"\x93NUMPY": "a NumPy file; write it as Parquet",
    rb"\x89HDF\r\n": "an HDF5 file; write it as Parquet",
    rb"%PDF": "a PDF document; export the table as CSV UTF-8",
    rb"SQLite format 3\x00": "an SQLite database; export the table as CSV UTF-8 or Parquet",
    rb"[\x00-\xff]{8}DUCK": "a DuckDB database; export the table as CSV UTF-8 or Parquet",
}
# Byte order marks and their encodings. UTF-32 precedes UTF-16, because its little-endian mark begins with that of
# UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The format of a text file.

    Attributes:
        path: The file.
        compression: The compression of the file.
        encoding: The name of the encoding in Python.
        separator: The character between cells.
        first_lines: Number of lines before the header: Excel's line `sep=;` and empty lines.
        header: The names of the columns.
        sample: The first records after the header.
        digest: SHA-256 of the file.
        is_ascii: True if every character of the file is known to be ASCII.
        has_quotes: False if the file is known to have no quotation mark.
        assumed_word: If the encoding is assumed, the first word with a letter that is not ASCII; otherwise "".
        has_plain_bytes: True if the file is neither compressed nor in an encoding other than UTF-8.
    """

    path: Path
    compression: Compression
    encoding: str
    separator: str
    first_lines: int
    header: tuple[str, ...]
    sample: tuple[tuple[str, ...], ...]
    digest: str
    is_ascii: bool
    has_quotes: bool
    assumed_word: str = ""

    @property
    def has_plain_bytes(self) -> bool:
        """Return whether the file consists of uncompressed UTF-8."""
        return self.compression == "none" and self.encoding == "utf-8"

    @property
    def separator_name(self) -> str:
        """Return the separator as a message writes it."""
        return _SEPARATOR_NAMES.get(self.separator, f"'{self.separator}'")

    def open_text(self) -> IO[str]:
        """Open the decompressed text; line ends are not translated."""
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        return io.TextIOWrapper(_open_bytes(self.path, self.compression), encoding=encoding, newline="")

    def count_line_feeds(self) -> int:
        """Return the number of bytes that are line feeds, at most a few more than the lines if the encoding is not UTF-8."""
        count = 0
        with _open_bytes(self.path, self.compression) as file:
            while chunk := file.read(_CHUNK_BYTES):
                count += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _LINE_FEED))
        return count

    def read_records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of the first line, cells) of every record after the header; empty lines are skipped.

        Raises:
            DataInvalid: The text cannot be decoded, or a quoted cell is malformed.
        """
        with self.open_text() as text:
            reader = csv.reader(itertools.islice(text, self.first_lines, None), delimiter=self.separator, strict=True)
            line, is_header = self.first_lines + 1, True
            try:
                for record in reader:
                    # In a file with a single column, an empty line is a record with an empty cell.
                    if not is_header and (record or len(self.header) == 1):
                        yield line, record or [""]
                    is_header = is_header and not record
                    line = self.first_lines + reader.line_num + 1
            except UnicodeDecodeError as error:
                raise DataInvalid(self._encoding_problem(line)) from error
            except csv.Error as error:
                if "field limit" in str(error):
                    raise DataInvalid(
                        f"{self.path.name}: line {line}: a cell is longer than {_CELL_CHARACTERS:,} characters; remove the column, "
                        "or close its quotation mark if one is missing"
                    ) from error
                raise DataInvalid(
                    f"{self.path.name}: line {line}: a quoted cell is malformed ({error}); double every quotation mark inside "
                    "a quoted cell"
                ) from error
            except (EOFError, OSError, lzma.LZMAError) as error:
                raise DataInvalid(
                    f"{self.path.name}: the {self.compression} file is damaged or incomplete; compress it again"
                ) from error

    def _encoding_problem(self, line: int) -> str:
        """Return the message for text that the encoding cannot decode."""
        return (
            f"{self.path.name}: line {line} or a later line is not valid {self.encoding}; set encoding to the encoding of "
            "the file, such as 'cp1252', or save the file as UTF-8"
        )


def plain_name(name: str) -> str:
    """Return the name of a column on one line, without hidden characters and without white space around it."""
    visible = (
        one if unicodedata.category(one) not in {"Cc", "Cf"} else " " for one in unicodedata.normalize("NFC", name)
    )
    return " ".join("".join(visible).split())


def check_column_count(name: str, count: int) -> None:
    """Raise DataInvalid if a file has so many columns that reading it would take minutes, because every query binds all of them."""
    if count > _COLUMNS_MAX:
        raise DataInvalid(
            f"{name}: has {count:,} columns, and at most {_COLUMNS_MAX:,} are supported; write a file with only the columns of the keys, "
            "the outcome and the probable features, or select them with a query in `source`"
        )


def check_is_file(path: Path, option: str = "--data") -> None:
    """Raise DataInvalid if the path is not an existing file."""
    if not path.is_file():
        raise DataInvalid(f"{path}: no such file; check the path, or specify a different file with {option}")


def is_parquet(path: Path) -> bool:
    """Return whether the first bytes of a file are those of Parquet."""
    with path.open("rb") as file:
        return file.read(4) in {b"PAR1", b"PARE"}


def _open_bytes(path: Path, compression: Compression) -> IO[bytes]:
    """Open a file for reading its decompressed bytes."""
    if compression == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if compression == "bz2":
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if compression == "xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    if compression == "zstd":
        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression="zstd")))
    return path.open("rb")


def detect_text_format(path: Path, reading: ReadingSpec) -> TextFormat:
    """Return the format of a text file.

    Raises:
        DataInvalid: The file is not a text file, is empty or damaged, or its format is ambiguous.
    """
    csv.field_size_limit(_CELL_CHARACTERS)
    compression = reading.compression or _detect_compression(path)
    try:
        with _open_bytes(path, compression) as file:
            start = file.read(_CHUNK_BYTES)
        _check_is_text(path, start)
        encoding, digest, is_ascii, has_quotes = _detect_encoding(path, compression, start, reading.encoding)
    except (EOFError, OSError, lzma.LZMAError, pa.ArrowInvalid) as error:
        raise DataInvalid(
            f"{path.name}: cannot be read with compression = {compression!r}; the file is damaged: export it again"
        ) from error
    text = _decode_sample(path, start, encoding, is_whole=len(start) < _CHUNK_BYTES)
    first_lines, declared = _declared_separator(text)
    body = "".join(text.splitlines(keepends=True)[first_lines:])
    separator = (
        _stated_separator(reading) or declared or _detect_separator(path, body, is_whole=len(start) < _CHUNK_BYTES)
    )
    records = _sample_records(body, separator, is_whole=len(start) < _CHUNK_BYTES)
    if not records and len(start) == _CHUNK_BYTES:
        raise DataInvalid(
            f"{path.name}: the header is longer than {_CHUNK_BYTES:,} bytes; write a file with fewer columns or shorter names, or set "
            "separator in the spec"
        )
    if not records:
        raise DataInvalid(f"{path.name}: the file has no header; add a first line with the names of the columns")
    header = tuple(map(plain_name, records[0]))
    check_column_count(path.name, len(header))
    _check_header(path, header)
    sample = tuple(tuple(record) for record in records[1:])
    word = _first_foreign_word(path, compression, encoding) if encoding == _ASSUMED and reading.encoding is None else ""
    return TextFormat(
        path, compression, encoding, separator, first_lines, header, sample, digest, is_ascii, has_quotes, word
    )


def _first_foreign_word(path: Path, compression: Compression, encoding: str) -> str:
    """Return the first word of a file with a letter that is not ASCII; "" if there is none.

    It shows a person whether the encoding is right.
    """
    with _open_bytes(path, compression) as file:
        while chunk := file.read(_CHUNK_BYTES):
            if found := re.search(_FOREIGN_WORD, chunk):
                return found[0][:_WORD_BYTES].decode(encoding, "replace")
    return ""


def _detect_compression(path: Path) -> Compression:
    """Return the compression that the first bytes of a file state."""
    with path.open("rb") as file:
        start = file.read(_MAGIC_BYTES)
    return next((name for pattern, name in _MAGIC if re.match(pattern, start)), "none")


def _check_is_text(path: Path, start: bytes) -> None:
    """Raise DataInvalid if the first bytes are those of a known format that is not text."""
    for pattern, message in _FOREIGN_FORMATS.items():
        if re.match(pattern, start):
            raise DataInvalid(f"{path.name}: the file is {message}")
    if start[:4] in {b"PAR1", b"PARE"}:
        raise DataInvalid(f"{path.name}: the file is a compressed Parquet file; decompress it first")
    if path.name.lower().endswith(".parquet"):
        raise DataInvalid(
            f"{path.name}: cannot be read as Parquet: the first bytes are not those of a Parquet file; export it again"
        )


def _detect_encoding(
    path: Path, compression: Compression, start: bytes, stated: str | None
) -> tuple[str, str, bool, bool]:
    """Return the encoding of a file, its SHA-256, whether all its characters are ASCII, and whether it may have quotation marks.

    One pass over an uncompressed file computes all four.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)), None)
    known = codecs.lookup(stated).name if stated else marked or _wide_encoding(start)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    is_utf8 = is_ascii = known is None
    has_quotes = compression != "none" and not is_utf8
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if compression != "none":
                continue
            has_quotes = has_quotes or b'"' in chunk
            if is_utf8:
                is_ascii = is_ascii and chunk.isascii()
                is_utf8 = _continues_utf8(decoder, chunk)
    if compression != "none" and is_utf8:
        with _open_bytes(path, compression) as decompressed:
            while is_utf8 and (chunk := decompressed.read(_CHUNK_BYTES)):
                is_ascii, has_quotes = is_ascii and chunk.isascii(), has_quotes or b'"' in chunk
                is_utf8 = _continues_utf8(decoder, chunk)
    if known is not None:
        known = "utf-8" if known in {"utf-8-sig", "utf_8_sig", "ascii"} else known
        return known, digest.hexdigest(), False, has_quotes
    if is_utf8 and not decoder.getstate()[0]:
        return "utf-8", digest.hexdigest(), is_ascii, has_quotes
    _check_single_encoding(path, compression)
    return _ASSUMED, digest.hexdigest(), False, has_quotes or compression != "none"


def _continues_utf8(decoder: codecs.IncrementalDecoder, chunk: bytes) -> bool:
    """Return whether the next bytes of a file continue its UTF-8."""
    if chunk.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError:
        return False
    return True


def _check_single_encoding(path: Path, compression: Compression) -> None:
    """Raise DataInvalid if a part of the file is UTF-8 and another part is not."""
    wide = lone = 0
    with _open_bytes(path, compression) as file:
        while chunk := file.read(_CHUNK_BYTES):
            sequences = re.findall(_UTF8_SEQUENCE, chunk)
            wide += len(sequences)
            lone += len(re.findall(rb"[\x80-\xff]", chunk)) - sum(map(len, sequences))
    if wide > lone / _LONE_BYTES_OF_CP1252:
        raise DataInvalid(
            f"{path.name}: a part of the file is UTF-8 and another part is not; save the whole file as UTF-8, or set "
            "encoding in the spec"
        )


def _wide_encoding(start: bytes) -> str | None:
    """Return the name of UTF-16 if about every second of the first bytes is zero, otherwise None."""
    pairs = start[: 2 * (len(start) // 2)]
    for zero, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = pairs[zero::2].count(0)
        if pairs and zeros > 0.4 * len(pairs) / 2 > pairs[1 - zero :: 2].count(0):  # most letters are Latin
            return name
    return None


def _decode_sample(path: Path, start: bytes, encoding: str, *, is_whole: bool) -> str:
    """Return the text of the first bytes, without a character that is incomplete at their end."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    try:
        return decoder.decode(start, is_whole)
    except UnicodeDecodeError as error:
        line = start[: error.start].count(b"\n") + 1
        raise DataInvalid(
            f"{path.name}: line {line} is not valid {encoding}; set encoding to the encoding of the file, such as 'cp1252', "
            "or save the file as UTF-8"
        ) from error


def _stated_separator(reading: ReadingSpec) -> str | None:
    """Return the separator that the spec states."""
    return "\t" if reading.separator == "tab" else reading.separator


def _declared_separator(text: str) -> tuple[int, str | None]:
    """Return the number of lines before the header, and the separator that Excel's line `sep=;` states, or None.

    The lines before the header are the line `sep=;` and empty lines.
    """
    lines = text.splitlines()
    first = lines[0] if lines else ""
    is_declared = first.lower().startswith("sep=") and len(first) == len("sep=") + 1
    before = next((number for number, line in enumerate(lines) if line and not (is_declared and number == 0)), 0)
    return before, first[-1] if is_declared else None


def _detect_separator(path: Path, text: str, *, is_whole: bool) -> str:
    """Return the separator for which every record of the sample has as many cells as the header.

    A file in which no separator occurs has a single column.
    """
    widths = {}
    for separator in _SEPARATORS:
        records = _sample_records(text, separator, is_whole=is_whole, is_strict=True)
        header = len(records[0]) if records else 0
        regular = sum(len(record) == header for record in records)
        widths[separator] = (header, regular == len(records))
    fitting = [separator for separator, (width, is_regular) in widths.items() if width > 1 and is_regular]
    fitting.sort(key=lambda separator: -widths[separator][0])
    # A decimal mark may also split every line into the same number of cells, but into fewer cells than the real
    # separator does. Therefore a separator that yields at least twice as many cells as any other is the real one.
    if len(fitting) == 1 or (len(fitting) > 1 and widths[fitting[0]][0] >= 2 * widths[fitting[1]][0]):
        return fitting[0]
    if len(fitting) > 1:
        shown = " and ".join(_SEPARATOR_NAMES.get(one, f"'{one}'") for one in fitting)
        raise DataInvalid(f"{path.name}: the separator may be {shown}; set separator in the spec to one of them")
    # If no separator fits, return the most likely one, because a later error then states the first irregular line.
    headers = {one: len((_sample_records(text, one, is_whole=is_whole) or [[]])[0]) for one in _SEPARATORS}
    return max(_SEPARATORS, key=lambda separator: headers[separator])


def _sample_records(text: str, separator: str, *, is_whole: bool, is_strict: bool = False) -> list[list[str]]:
    """Return the first records of the sample, or none if a quoted cell is malformed and `is_strict` is set.

    The last record of a partial sample may be incomplete, so it is dropped.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=is_strict)
    records: list[list[str]] = []
    try:
        records += (record for record in itertools.islice(reader, SAMPLE_RECORDS + 1) if record)
    except csv.Error as error:
        if is_whole or "unexpected end" not in str(error):
            return []
        return records
    return records if is_whole or len(records) > SAMPLE_RECORDS else records[:-1]


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    """Raise DataInvalid if two columns have the same name."""
    places: dict[str, list[str]] = {}
    for position, name in enumerate(header, 1):
        places.setdefault(name, []).append(str(position))
    if repeated := [
        f"{quote_name(name)} (columns {', '.join(shorten_list(where, _NAMES_SHOWN, ''))})"
        for name, where in places.items()
        if name and len(where) > 1
    ]:
        listed = "; ".join(shorten_list(repeated, _NAMES_SHOWN, ""))
        raise DataInvalid(f"{path.name}: duplicate columns in the header: {listed}; rename all but one")
