"""Error texts for documents that pydantic rejects: the path of each invalid field, and the violated rule in words."""

from collections.abc import Iterator

from pydantic import ValidationError

from models.identifiers import (
    CODE_PATTERN,
    FAMILY_PATTERN,
    FEATURE_NAME_PATTERN,
    LOCALE_PATTERN,
    MARKET_PATTERN,
    SHA256_PATTERN,
)

_CODE_RULE = "must be an uppercase letter followed by uppercase letters, digits and _"
_PATTERN_RULES = {
    f"^{MARKET_PATTERN}$": "must be two uppercase letters, such as DE",
    rf"^({MARKET_PATTERN}|\*)$": 'must be two uppercase letters, such as DE, or "*"',
    r"^[A-Z]{3}$": "must be three uppercase letters, such as EUR",
    r"^[0-9a-f]{32}$": "must be 32 hexadecimal digits, 0-9 and a-f",
    f"^{SHA256_PATTERN}$": "must be 64 hexadecimal digits, 0-9 and a-f",
    f"^{FAMILY_PATTERN}$": "must be a lowercase letter followed by at most 31 lowercase letters, digits and _",
    r"^[A-Z][A-Z0-9_]{0,31}$": f"{_CODE_RULE}, at most 32 characters",
    f"^{CODE_PATTERN}$": f"{_CODE_RULE}, at most 63 characters",
    r"^[A-Z][A-Z0-9_]{0,63}$": f"{_CODE_RULE}, at most 64 characters",
    f"^{FEATURE_NAME_PATTERN}$": "must be a letter followed by letters, digits and _, at most 128 characters",
    f"^{LOCALE_PATTERN}$": "must be a language tag, such as en or de-AT",
    r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,15}$": (
        "must be a letter or digit followed by letters, digits and _ . + -, at most 16 characters"
    ),
}
_TYPE_RULES = {"extra_forbidden": "unknown name; check its spelling", "missing": "missing"}


def field_problems(error: ValidationError) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield (path, problem) for each invalid field. The problem states the rule and never the value."""
    for detail in error.errors(include_input=False, include_url=False):
        problem = _TYPE_RULES.get(detail["type"], detail["msg"])
        if detail["type"] == "string_pattern_mismatch":
            problem = _PATTERN_RULES.get(detail["ctx"]["pattern"], "has characters that are not allowed here")
        yield detail["loc"], problem.removeprefix("Value error, ")


def field_path(path: tuple[int | str, ...]) -> str:
    """Return a path as text, such as sections.0.market."""
    return ".".join(str(part) for part in path)
