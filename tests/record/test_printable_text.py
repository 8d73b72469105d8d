"""Hidden characters are shown as escapes; all other characters are unchanged."""

import unicodedata

import pytest

from grounds_record.printable_text import escape_line, escape_text, hidden_characters, hidden_text_problems


@pytest.mark.parametrize(
    ("character", "escape"),
    [
        ("\x00", r"\x00"),
        ("\x1b", r"\x1b"),
        ("\x7f", r"\x7f"),
        ("\x9b", r"\x9b"),  # CSI (control sequence introducer) as a single character
        ("\r", r"\r"),
        ("\t", r"\t"),
        ("\x85", r"\x85"),
        ("\u061c", r"\u061c"),
        ("\u200b", r"\u200b"),
        ("\u200e", r"\u200e"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u2069", r"\u2069"),
        ("\u3164", r"\u3164"),
        ("\ufe0f", r"\ufe0f"),
        ("\ufeff", r"\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_a_character_that_acts_or_is_invisible_becomes_an_escape(character: str, escape: str) -> None:
    assert escape_line(f"a{character}b") == escape_text(f"a{character}b") == f"a{escape}b"
    assert hidden_characters(f"a{character}b") == [escape]


def test_a_newline_is_kept_only_in_a_text_of_several_lines() -> None:
    assert escape_line("a\nb") == r"a\nb"
    assert escape_text("a\nb") == "a\nb"


@pytest.mark.parametrize("text", ["", "Łódź 東京 ßé €", "100\u00a0%", "[red]x[/red]", "שלום", "e\u0301", "C:\\x1b"])
def test_text_that_people_can_see_is_unchanged(text: str) -> None:
    assert escape_line(text) == escape_text(text) == text
    assert hidden_characters(text) == []


def test_every_control_and_format_character_of_unicode_is_escaped_and_the_result_is_stable() -> None:
    controls = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]
    text = "".join(controls)

    escaped = escape_line(text)

    assert len(controls) > 2000
    assert escaped.isascii()
    assert escaped.isprintable()
    assert escape_line(escaped) == escaped


def test_hidden_characters_in_a_document_are_found_with_their_path() -> None:
    document = {"title": "a\x1b[2J", "lines": [{"text": "ok\nsecond line"}, {"text": "b\u202e"}], "k\u200b": 1}

    assert list(hidden_text_problems(document)) == [
        ("title", r"must not contain control or invisible characters, found \x1b"),
        ("lines[1].text", r"must not contain control or invisible characters, found \u202e"),
        (r"k\u200b", r"must not contain control or invisible characters, found \u200b"),
    ]
