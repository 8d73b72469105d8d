"""What several commands take, and how all of them print."""

from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console

PLAIN_WIDTH = 120
Market = Annotated[str, typer.Argument(metavar="MARKET", help="Country, two capital letters.")]
CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's number.")]
Address = Annotated[str, typer.Option(help="The server.", envvar="GROUNDS_ADDRESS")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: the answer as JSON.")]
Locale = Annotated[str, typer.Option(help="Language of the reasons, such as de.")]


def say_json(as_json: bool, messages: Iterable[Message]) -> bool:
    """Print messages as JSON, one document a message, if asked to."""
    if as_json:
        for message in messages:
            typer.echo(MessageToJson(message, preserving_proto_field_name=True))
    return as_json


def console(*, stderr: bool = False) -> Console:
    """Give a console: as wide as the terminal, or of one width where there is none."""
    plain = Console(highlight=False, stderr=stderr)
    return plain if plain.is_terminal else Console(width=PLAIN_WIDTH, highlight=False, stderr=stderr)
