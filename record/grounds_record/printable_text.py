"""Makes text from outside safe to print: characters that control a terminal or are invisible become visible escapes.

Escape sequences can change the window title, move the cursor over printed lines or paste commands. Bidirectional
controls and zero-width characters make a text look like a different text. Every package passes text from outside
through `escape_line` or `escape_text` before it prints the text.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

# Control characters (C0 with ESC, DEL, C1), format characters (bidirectional, zero-width, tags), lone surrogates,
# private and unassigned characters, separators of lines and paragraphs.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Invisible characters of other categories: fillers of Hangul, combining joiner, blank of Braille, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTE_MAX, _BMP_MAX = 0xFF, 0xFFFF


def _is_hidden(character: str) -> bool:
    """Return whether a character acts on a terminal or is invisible. A space is not hidden; a newline is."""
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or bool(_INVISIBLE.match(character))


def escape_line(text: str) -> str:
    """Return a text in which every hidden character, including newlines, is a visible escape in Python's notation."""
    return _escape(text, kept="")


def escape_text(text: str) -> str:
    """Return a text of several lines in which every hidden character except the newline is a visible escape."""
    return _escape(text, kept="\n")


def hidden_characters(text: str, kept: str = "") -> list[str]:
    """Return the hidden characters of a text, each once and as its escape, except those in `kept`."""
    if text.isascii() and text.isprintable():
        return []
    return [_escape_character(each) for each in dict.fromkeys(text) if each not in kept and _is_hidden(each)]


def hidden_text_problems(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, problem) for each text with hidden characters in nested mappings and sequences, including keys.

    Newlines and tabs are allowed, because files may contain texts of several lines.
    """
    if isinstance(value, str):
        if found := hidden_characters(value, kept="\n\t"):
            yield path, f"must not contain control or invisible characters, found {', '.join(found)}"
    elif isinstance(value, dict):
        for key, part in value.items():
            name = f"{path}.{key}" if path else str(key)
            yield from ((escape_line(name), problem) for _, problem in hidden_text_problems(key))
            yield from hidden_text_problems(part, name)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from hidden_text_problems(part, f"{path}[{number}]")


def _escape(text: str, kept: str) -> str:
    """Return a text with its hidden characters escaped, except those in `kept`."""
    if text.isascii() and text.isprintable():  # most texts; both checks are fast
        return text
    hidden = (each for each in set(text) if each not in kept and _is_hidden(each))
    return text.translate({ord(each): _escape_character(each) for each in hidden})


def _escape_character(character: str) -> str:
    """Return the escape of one character, as Python and JSON write it."""
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    number = ord(character)
    if number <= _BYTE_MAX:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _BMP_MAX else f"\\U{number:08x}"
