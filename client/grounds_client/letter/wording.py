"""The wording of letters, by language, effective date and jurisdiction. Lawyers can edit it in the TOML files."""

import datetime as dt
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from string import Formatter
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from grounds_client.errors import LetterRefused

# The members of the European Economic Area, where the GDPR applies.
_EEA = (
    *(
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IS",
        "IT",
        "LI",
        "LT",
        "LU",
    ),
    *("LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK"),
)
GENERAL = "GENERAL"
# The placeholders that each text may contain. Texts without an entry may contain none.
_PLACEHOLDERS = {
    "APPROVE": ("amount", "decided"),
    "APPROVE_REDUCED": ("amount", "decided", "granted"),
    "REFER": ("amount", "decided"),
    "DECLINE": ("amount", "decided"),
    "NOT_SCORABLE": ("amount", "decided"),
    "by_policy": ("decided",),
    "by_person": ("overridden",),
    "review": ("contact",),
    "US": ("agency",),
}
_TEXTS = (
    *("title", "date", "number", "greeting", "APPROVE", "APPROVE_REDUCED", "REFER", "DECLINE", "NOT_SCORABLE"),
    *("by_policy", "by_person", "reasons_title", "reasons_none", "changes_title", "changes_intro", "changes_one"),
    *("changes_none", "review_title", "review", "data", "closing"),
)


@dataclass(frozen=True)
class Wording:
    """One dated version of the texts of letters in one language.

    Attributes:
        locale: The language as a BCP 47 tag.
        effective_from: First day on which the version applies.
        texts: The texts by name, with placeholders such as {amount}.
        jurisdictions: The paragraph on the person's rights, by jurisdiction.
    """

    locale: str
    effective_from: dt.date
    texts: Mapping[str, str]
    jurisdictions: Mapping[str, str]


def offered_languages() -> list[str]:
    """Return the languages in which letters can be written."""
    folder = resources.files("grounds_client.letter").joinpath("wording")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def read_wording(locale: str, day: dt.date) -> Wording:
    """Return the wording of a language that is in force on a day.

    Raises:
        LetterRefused: The language is not offered, its wording is invalid, or no version is in force on the day.
    """
    file = resources.files("grounds_client.letter").joinpath("wording", f"{locale}.toml")
    if not file.is_file():
        raise LetterRefused(f"letters are offered in {', '.join(offered_languages())}, got {locale!r}")
    return parse_wording(file.read_text(encoding="utf-8"), locale, day)


def parse_wording(content: str, locale: str, day: dt.date) -> Wording:
    """Return the newest version of a wording file that is in force on a day.

    Raises:
        LetterRefused: A text is missing or has an unknown placeholder, or no version is in force on the day.
    """
    versions: list[dict[str, Any]] = tomllib.loads(content)["versions"]
    problems = [problem for version in versions for problem in _problems(version)]
    if problems:
        raise LetterRefused("\n".join([f"the wording in {locale!r} is invalid:", *problems]))
    started = [version for version in versions if version["effective_from"] <= day]
    if not started:
        raise LetterRefused(f"the wording in {locale!r} begins after {day}; write the letter with a later date")
    newest = max(started, key=lambda version: version["effective_from"])
    texts = {name: newest[name] for name in _TEXTS}
    return Wording(locale, newest["effective_from"], texts, newest["jurisdictions"])


def find_language(locale: str) -> str:
    """Return the language of letters for texts in a locale: the locale, or the locale without its last parts; "" if there is none."""
    parts = locale.split("-")
    shorter = ("-".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((each for each in shorter if each in offered_languages()), "")


def jurisdiction_of(market: str) -> str:
    """Return the jurisdiction of a market: EU, US or GENERAL."""
    return "EU" if market in _EEA else "US" if market == "US" else GENERAL


def _problems(version: Mapping[str, Any]) -> list[str]:
    """Return the missing texts and the unknown placeholders of a version."""
    where = f"  {version['effective_from']}: "
    missing = [f"{where}{name} is missing" for name in _TEXTS if name not in version]
    missing += [] if GENERAL in version.get("jurisdictions", {}) else [f"{where}jurisdictions.{GENERAL} is missing"]
    texts = {name: text for name, text in version.items() if name in _TEXTS} | version.get("jurisdictions", {})
    return missing + [
        f"{where}{name} has the unknown placeholder {{{placeholder}}}"
        for name, text in texts.items()
        for _, placeholder, _, _ in Formatter().parse(text)
        if placeholder is not None and placeholder not in _PLACEHOLDERS.get(name, ())
    ]
