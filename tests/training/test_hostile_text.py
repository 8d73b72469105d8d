"""Names from specs and data cannot control the terminal on which training runs, or hide in its report."""

import io
from pathlib import Path

import pytest
from rich.table import Table

from training.console import Console, _PlainConsole
from training.errors import SpecInvalid
from training.report.markup import escape, paragraph
from training.spec import read_spec

HOSTILE = "a\x1b[2J\x9b\u202e[red]b[/red]"
SHOWN = r"a\x1b[2J\x9b\u202e[red]b[/red]"


def test_the_console_shows_escapes_and_reads_no_markup() -> None:
    console = Console(1)
    paper = _PlainConsole(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console._console = paper
    table = Table(title=HOSTILE, show_header=False)
    table.add_column("what")
    table.add_row(HOSTILE)

    console.info(HOSTILE)
    console.print_table(table)

    assert isinstance(paper.file, io.StringIO)
    printed = paper.file.getvalue()
    assert printed.count(SHOWN) == 3
    assert not {"\x1b", "\x9b", "\u202e"} & set(printed)


def test_the_report_shows_escapes() -> None:
    assert escape("<b>\u202e") == r"&lt;b&gt;\u202e"
    assert paragraph(HOSTILE) == f"<p>{SHOWN}</p>"


def test_a_spec_with_hidden_characters_is_rejected_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('family = "x"\ntitle = "a\\u202e"\n[[features]]\nname = "y\\u001b[2J"\n')

    with pytest.raises(SpecInvalid) as caught:
        read_spec(path)

    assert r"title: must not contain control or invisible characters, found \u202e" in str(caught.value)
    assert r"features[0].name: must not contain control or invisible characters, found \x1b" in str(caught.value)
