"""The connection of a command. The credentials are options of the program, so that they apply to every command."""

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

from grounds_client.channel import ClientCredentials
from grounds_client.client import Client

_CREDENTIALS: ContextVar[ClientCredentials | None] = ContextVar("credentials", default=None)


def read_credentials(
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="GROUNDS_CA",
            help="PEM file with the certificate that signs the server's certificate. Without it, the connection is not "
            "encrypted, which only a server on this machine accepts.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="GROUNDS_CERTIFICATE", help="PEM file with your certificate."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="GROUNDS_KEY", help="PEM file with the key of the certificate."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="GROUNDS_TOKEN_FILE", help="File with a bearer token instead of a certificate."
        ),
    ] = None,
) -> None:
    """Read the options of the program that concern the connection, for `connect`."""
    if ca is None and (certificate or key or token_file):
        raise typer.BadParameter("--certificate, --key and --token-file require --ca, because they require TLS")
    if (certificate is None) != (key is None):
        raise typer.BadParameter("specify both --certificate and --key, or neither")
    _CREDENTIALS.set(None if ca is None else ClientCredentials(ca, certificate, key, token_file))


def connect(address: str) -> Client:
    """Return a client with the credentials of the command line."""
    return Client(address, credentials=_CREDENTIALS.get())
