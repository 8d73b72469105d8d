"""`python -m console`: serve the pages."""

import ipaddress
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from console.app import create_app
from console.connections import ClientSource, SharedClient, TokenClients
from console.working_papers import PapersRefused, WorkingPapers
from grounds_client import Client, ClientCredentials
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_record.errors import KeyMalformed
from grounds_record.note import VerifierKey, parse_verifier_key

_LOG_CONFIG = {"version": 1, "disable_existing_loggers": False}  # uvicorn's own access log would contain customer ids

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m console --port 8080 --log-key grounds.pub")
def serve(
    address: Annotated[str, typer.Option(help="Host and port of the gRPC server.")] = DEFAULT_ADDRESS,
    host: Annotated[str, typer.Option(help="IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free port.", min=0, max=65535)] = 8080,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file with the certificates that sign the server's certificate."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file with your certificate, if only you use this console.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file with the key of the certificate.")] = None,
    tokens_from_proxy: Annotated[
        bool,
        typer.Option(
            "--tokens-from-proxy",
            help="Pass on the bearer token of each request, which a proxy that signs people in adds. This or --sign-in is "
            "required to listen on other than loopback.",
        ),
    ] = False,
    sign_in: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with the OpenID Connect provider that signs people in."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name by which browsers reach the console; repeatable."),
    ] = None,
    papers: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for the working papers of auditors, of the console's account only."
        ),
    ] = None,
    log_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="The record log's public key, or a file that contains it. Default: as the server reports it.",
        ),
    ] = "",
) -> None:
    """Serve the console on http://HOST:PORT until it is interrupted."""
    _check_hosts(host, allowed_host or [])
    _check_options(host, ca, certificate, key, tokens_from_proxy=tokens_from_proxy, sign_in=sign_in)
    routes: Sequence[Route] = ()
    tls = _Tls(None, None)
    hosts = [_url_host(host), "localhost", *(allowed_host or [])]
    source: ClientSource
    if sign_in is not None:
        assert ca is not None, "checked above"
        source, routes, tls, public_host = _open_sign_in(sign_in, address, ca)
        hosts.append(public_host)
    elif tokens_from_proxy:
        assert ca is not None, "checked above"
        source = TokenClients(address, ca)
    else:
        source = SharedClient(Client(address, credentials=ClientCredentials(ca, certificate, key) if ca else None))
    _run(create_app(source, _read_log_key(log_key), hosts, _open_papers(papers), routes), host, port, tls)


class _Tls(NamedTuple):
    """The certificate and the key of the console itself; None if it serves without TLS."""

    certificate: Path | None
    key: Path | None


def _run(console: Starlette, host: str, port: int, tls: _Tls) -> None:
    """Listen, print the address, and serve until the process is interrupted."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        # Accepted connections inherit this. asyncio sets it only on sockets of another kind than those of `create_server`;
        # without it, the kernel holds back the body of each answer for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        typer.echo(f"console: {'https' if tls.certificate else 'http'}://{_url_host(host)}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            console,
            access_log=False,
            server_header=False,
            log_config=_LOG_CONFIG,
            log_level="warning",
            ssl_certfile=tls.certificate,
            ssl_keyfile=tls.key,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _url_host(host: str) -> str:
    """Return an IP address as in a URL and in the header Host."""
    return f"[{host}]" if ":" in host else host


def _open_sign_in(path: Path, address: str, ca: Path) -> tuple[ClientSource, Sequence[Route], _Tls, str]:
    """Return what signs people in as the file of `--sign-in` states: clients, routes, TLS files and host name."""
    # Only this way of sign-in needs the OpenID Connect library.
    from console.provider import Provider, SignInRefused
    from console.sign_in import SignedInClients
    from console.sign_in_file import SignInFileInvalid, read_sign_in_file

    try:
        found = read_sign_in_file(path)
        clients = SignedInClients(address, ca, Provider(found.provider))
    except (SignInFileInvalid, SignInRefused) as error:
        raise typer.BadParameter(str(error), param_hint="--sign-in") from error
    return clients, clients.routes(), _Tls(found.tls_certificate, found.tls_key), found.host


def _check_hosts(host: str, allowed: Sequence[str]) -> None:
    """Raise an error if the address to listen on is not an IP address, or if an allowed host name has a wildcard."""
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise typer.BadParameter("must be an IP address, such as 127.0.0.1 or ::1", param_hint="--host") from error
    if any("*" in name for name in allowed):
        raise typer.BadParameter(
            "must be a complete host name; with a wildcard, a foreign page could read the console through its own name",
            param_hint="--allowed-host",
        )


def _check_options(
    host: str,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    *,
    tokens_from_proxy: bool,
    sign_in: Path | None,
) -> None:
    """Raise an error if options contradict each other."""
    if sign_in and (tokens_from_proxy or certificate):
        raise typer.BadParameter(
            "specify one of --sign-in, --tokens-from-proxy and --certificate", param_hint="--sign-in"
        )
    if sign_in and ca is None:
        raise typer.BadParameter("requires --ca, because tokens are sent over TLS only", param_hint="--sign-in")
    if not tokens_from_proxy and not sign_in and not ipaddress.ip_address(host).is_loopback:
        raise typer.BadParameter(
            "must be a loopback address, such as 127.0.0.1, unless --tokens-from-proxy or --sign-in is given",
            param_hint="--host",
        )
    if tokens_from_proxy and ca is None:
        raise typer.BadParameter(
            "requires --ca, because tokens are sent over TLS only", param_hint="--tokens-from-proxy"
        )
    if tokens_from_proxy and certificate:
        raise typer.BadParameter("specify --tokens-from-proxy or --certificate, not both", param_hint="--certificate")
    if (certificate is None) != (key is None):
        raise typer.BadParameter("specify both --certificate and --key, or neither", param_hint="--certificate")
    if certificate and ca is None:
        raise typer.BadParameter("requires --ca", param_hint="--certificate")


def _open_papers(folder: Path | None) -> WorkingPapers | None:
    """Return the working papers of `--papers`; None if the option is missing."""
    try:
        return WorkingPapers(folder) if folder else None
    except PapersRefused as error:
        raise typer.BadParameter(str(error), param_hint="--papers") from error


def _read_log_key(text: str) -> VerifierKey | None:
    """Return the key of `--log-key`; None if the option is missing."""
    if not text:
        return None
    content = Path(text).read_text("ascii").strip() if Path(text).is_file() else text
    try:
        return parse_verifier_key(content)
    except KeyMalformed as error:
        raise typer.BadParameter(
            f"must be a public key or a file that contains one: {error}", param_hint="--log-key"
        ) from error


if __name__ == "__main__":
    sys.exit(app())
