"""Splits the name of a column into words, and looks for words that state the role of the column."""

import re
import unicodedata
from collections.abc import Iterable

TIME_WORDS = (
    "date",
    "datum",
    "day",
    "tag",
    "time",
    "zeit",
    "timestamp",
    "stand",
    "stichtag",
    "month",
    "monat",
    "as",
    "invoicedate",
    "fecha",
    "ts",
    "period",
)


def name_words(name: str) -> list[str]:
    """Return the words of the name of a column in lowercase letters."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    return [word for word in re.split(r"[\W_\d]+", spaced.lower()) if word]


def has_word(name: str, words: Iterable[str]) -> bool:
    """Return whether the name of a column contains one of the words, separately or as part of a longer word."""
    own = name_words(name)
    return any(word in own or (len(word) > 3 and any(word in one for one in own)) for word in words)  # noqa: PLR2004 - short words occur in others by chance
