"""Parsers of arguments and options. Each error message states the rule and has an example."""

import uuid
from collections.abc import Collection, Sequence

import typer

from grounds_client.client import Client, Value, parse_value
from grounds_client.money import Amount
from grounds_record.printable_text import escape_line

_PREFIX_LENGTH_MIN = 8
_BUNDLE_ID_LENGTH = 64
_RUN_ID_LENGTH = 32


def parse_amount(text: str) -> Amount:
    """Parse an amount such as 120000TWD."""
    try:
        return Amount.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_decision_id(text: str) -> str:
    """Parse a decision_id. The server finds decisions by the full id only, so a prefix is rejected here."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise typer.BadParameter(
            f"must be a full decision_id of 36 characters, such as 0b0e3c1e-5f0a-4b7e-9c0e-0f4f5d1b2a3c, got {text!r}; "
            "`score` and `decisions` print it"
        ) from error


def check_market(text: str) -> str:
    """Return a market unchanged. Raise an error unless the market is empty or two uppercase letters."""
    if text and not (len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()):  # noqa: PLR2004
        raise typer.BadParameter(f"must be two uppercase letters, such as TW, got {text!r}")
    return text


def parse_values(texts: Sequence[str], option: str) -> dict[str, Value]:
    """Parse values such as PAY_0=2. A value is a level if it is in double quotes or is not a number."""
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"must be NAME=VALUE, such as PAY_0=2, got {text!r}", param_hint=option)
        values[name] = parse_value(value)
    return values


def parse_choice(text: str, choices: Sequence[str], option: str) -> str:
    """Return the choice that equals the text, ignoring case."""
    by_name = {choice.upper(): choice for choice in choices}
    if text.upper() not in by_name:
        raise typer.BadParameter(f"must be one of {', '.join(choices)}, got {text!r}", param_hint=option)
    return by_name[text.upper()]


def resolve_bundle_id(client: Client, text: str, option: str) -> str:
    """Return the only bundle_id in the server's catalog that begins with a text.

    A full bundle_id is returned without a call, because the catalog may no longer have the bundle of an old decision.
    """
    if len(text) == _BUNDLE_ID_LENGTH:
        return text
    _check_prefix_length(text, "bundle_id", option)
    return _unique_match(text, {model.bundle_id for model in client.list_models()}, "bundle_id", option)


def resolve_run_id(client: Client, text: str, option: str) -> str:
    """Return the only run_id, among the newest runs of all markets, that begins with a text.

    Older runs need the full id.
    """
    if len(text) == _RUN_ID_LENGTH:
        return text
    _check_prefix_length(text, "run_id", option)
    return _unique_match(text, {run.run_id for run in client.list_churn_runs()}, "run_id of a newest run", option)


def _check_prefix_length(text: str, kind: str, option: str) -> None:
    """Raise an error if a prefix is too short."""
    if len(text) < _PREFIX_LENGTH_MIN:
        raise typer.BadParameter(
            f"must be a {kind} or at least its first {_PREFIX_LENGTH_MIN} characters, got {text!r}", param_hint=option
        )


def _unique_match(prefix: str, ids: Collection[str], kind: str, option: str) -> str:
    """Return the only id that begins with a prefix; raise an error if there is none or more than one."""
    matches = sorted(each for each in ids if each.startswith(prefix))
    if not matches:
        raise typer.BadParameter(f"{prefix!r} is not the beginning of a {kind}", param_hint=option)
    if len(matches) > 1:
        raise typer.BadParameter(
            f"{prefix!r} is ambiguous: {escape_line(', '.join(matches))}; type more characters", param_hint=option
        )
    return matches[0]
