"""Functions that print lines of text, and messages as JSON with the field names of the .proto files."""

from collections.abc import Iterable

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from grounds_record.printable_text import escape_line, escape_text


def print_json(message: Message) -> None:
    """Print one message as an indented JSON document."""
    typer.echo(_json(message, indent=2))


def print_json_lines(messages: Iterable[Message]) -> None:
    """Print messages as JSON, one document per line."""
    for message in messages:
        typer.echo(_json(message, indent=None))


def print_message(text: str, *, err: bool = False) -> None:
    """Print one line, which may contain text from outside; `err` prints to standard error."""
    typer.echo(escape_line(text), err=err)


def print_text(text: str) -> None:
    """Print a text of several lines, which may be from outside, without a further newline."""
    typer.echo(escape_text(text), nl=False)


def _json(message: Message, *, indent: int | None) -> str:
    """Return a message as ASCII JSON without control characters. JSON itself leaves only DEL unescaped."""
    return MessageToJson(message, preserving_proto_field_name=True, indent=indent).replace("\x7f", "\\u007f")
