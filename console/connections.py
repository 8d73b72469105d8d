"""The connection to the server for each request of a browser.

The console decides nothing about rights: it passes the person's identity on, and the server's authority table decides.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import grpc
from starlette.requests import Request

from grounds.model.v1 import model_pb2
from grounds_client import Client, ClientCredentials

_SCHEME = "bearer "
_FORWARDED_TOKEN = "x-forwarded-access-token"  # noqa: S105 - the name of a header, as oauth2-proxy sets it


class NotSignedIn(Exception):
    """The request does not identify a person.

    Attributes:
        link: The page that signs the person in; "" if a proxy in front must add a bearer token.
        problem: Why an earlier sign-in ended; "" if it is not known.
    """

    def __init__(self, link: str = "", problem: str = "") -> None:
        super().__init__(problem or "not signed in")
        self.link, self.problem = link, problem


class ProviderUnavailable(Exception):
    """The provider that signs people in does not answer, so an expired access token cannot be renewed now."""


class ClientSource(Protocol):
    """Provides the client with which a request is answered."""

    def open(self, request: Request) -> AbstractContextManager[Client]:
        """Yield the client.

        Raises:
            NotSignedIn: The request does not identify a person.
            ProviderUnavailable: The person is signed in, but their access token has expired and cannot be renewed now.
        """

    def person(self, request: Request) -> str:
        """Return the id of the person who sent a request; "" if the console does not know it."""


def open_idle_channel(address: str) -> grpc.Channel:
    """Return a channel that is never used, and that a source with a client for each request keeps as long as it lives.

    With the last channel, gRPC stops its threads, and waits for them with Python's lock (GIL) held. If one of them needs this
    lock at that moment, to release the token of a call, the process hangs for good. A channel that stays prevents the stop.
    """
    return grpc.insecure_channel(address)


def check_caller(request: Request, client: Client) -> None:
    """Check with the server that it accepts the caller: the token is valid, and the authority table has the principal.

    Every identified caller may list the models, and the server answers from memory. The page finds the answer with
    `listed_models`, and need not ask again.

    Raises:
        CallFailed: The server refuses the caller, or does not answer.
    """
    request.state.models = client.list_models()


def listed_models(request: Request) -> list[model_pb2.ModelSummary]:
    """Return the bundles of the catalog, rejected ones included, as the server listed them when it accepted the caller."""
    found: list[model_pb2.ModelSummary] = request.state.models
    return found


class SharedClient:
    """One client for all requests, with the identity of the person who started the console."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @contextmanager
    def open(self, request: Request) -> Iterator[Client]:
        """Yield the client."""
        del request
        yield self._client

    def person(self, request: Request) -> str:
        """Return "": the server knows the caller, but the console does not."""
        del request
        return ""


class TokenClients:
    """A client for each request, with the bearer token that a proxy added to the request."""

    def __init__(self, address: str, ca: Path) -> None:
        """Remember the server.

        Args:
            address: Host and port of the gRPC server.
            ca: PEM file with the certificates that sign the server's certificate.
        """
        self._address, self._ca = address, ca
        self._idle = open_idle_channel(address)

    @contextmanager
    def open(self, request: Request) -> Iterator[Client]:
        """Yield a client with the token of the request, and close it afterwards."""
        tokens = _forwarded_tokens(request)
        if len(tokens) > 1:
            raise NotSignedIn(
                problem="The request has several bearer tokens that differ. The proxy in front of the console must remove the "
                "headers Authorization and X-Forwarded-Access-Token that a browser sends, and add one token of its own."
            )
        if not tokens:
            raise NotSignedIn
        (token,) = tokens
        with Client(self._address, credentials=ClientCredentials(self._ca, token=token)) as client:
            yield client

    def person(self, request: Request) -> str:
        """Return the subject of the request's token; "" unless it has exactly one."""
        tokens = _forwarded_tokens(request)
        return token_subject(*tokens) if len(tokens) == 1 else ""


def token_subject(token: str) -> str:
    """Return the subject (`sub`) of a signed token; "" if it has none.

    The signature is not verified here. The server verifies it before any page begins, see `check_caller`.
    """
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject = claims["sub"]
    except (ValueError, KeyError, TypeError):
        return ""
    return subject if isinstance(subject, str) else ""


def _forwarded_tokens(request: Request) -> set[str]:
    """Return the bearer tokens of a request. The proxy adds one; another one can only come from the browser."""
    authorizations = request.headers.getlist("authorization")
    tokens = {each[len(_SCHEME) :].strip() for each in authorizations if each.lower().startswith(_SCHEME)}
    tokens.update(each.strip() for each in request.headers.getlist(_FORWARDED_TOKEN))
    return {token for token in tokens if token and token.isascii()}
