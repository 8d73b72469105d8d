"""Functions that print messages as JSON, with the field names of the .proto files."""

from collections.abc import Iterable

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message


def print_json(message: Message) -> None:
    """Print one message as an indented JSON document."""
    typer.echo(MessageToJson(message, preserving_proto_field_name=True))


def print_json_lines(messages: Iterable[Message]) -> None:
    """Print messages as JSON, one document per line."""
    for message in messages:
        typer.echo(MessageToJson(message, preserving_proto_field_name=True, indent=None))
