"""Signs people in by OpenID Connect, and keeps their sessions in memory. The browser gets the id of its session only."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.connections import NotSignedIn, ProviderUnavailable, open_idle_channel
from console.local_path import local_path
from console.posted_form import read_posted_form
from console.provider import Provider, SignInRefused, Tokens, new_verifier
from console.purpose import delete_purpose
from console.query import current_page
from console.rendering import render_page
from grounds_client import Client, ClientCredentials

CALLBACK_PATH = "/sign-in/callback"
_SIGN_IN_PATH = "/sign-in"
# The prefix __Host- makes browsers accept the cookie over TLS only, for this host name only, and for all paths.
_SESSION_COOKIE, _BEGUN_COOKIE = "__Host-session", "__Host-sign-in"
_SESSION_SECONDS_MAX = 12 * 3600
_IDLE_SECONDS_MAX = 3600
_BEGUN_SECONDS_MAX = 600
_REFRESH_BEFORE_SECONDS = 30  # a call that begins now must not end with an expired token
_REFRESH_AGAIN_SECONDS = 5  # after the provider gave no answer; each request would wait for it otherwise
_ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _BegunSignIn:
    """A sign-in that was begun: what its end must match, and when it is too late."""

    browser: str
    nonce: str
    verifier: str
    wanted: str
    end: float


@dataclass(slots=True)
class _Session:
    """The session of a person. Who holds the lock may renew the tokens."""

    tokens: Tokens
    begun: float
    used: float
    refresh_again: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class SignedInClients:
    """A client for each request, with the access token of the session to which the request belongs."""

    def __init__(
        self, address: str, ca: Path, provider: Provider, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember server and provider.

        Args:
            address: Host and port of the gRPC server.
            ca: PEM file with the certificates that sign the server's certificate.
            provider: Signs people in.
            monotonic: The clock of the sessions, which must be that of the provider.
        """
        self._address, self._ca, self._provider, self._monotonic = address, ca, provider, monotonic
        self._idle = open_idle_channel(address)
        self._lock = threading.Lock()
        self._begun: dict[str, _BegunSignIn] = {}
        self._sessions: dict[str, _Session] = {}

    @contextmanager
    def open(self, request: Request) -> Iterator[Client]:
        """Yield a client with the access token of the session, which is renewed before it expires.

        Without an answer of the provider, the token is used until it expires, and the session continues after that.
        """
        name = request.cookies.get(_SESSION_COOKIE, "")
        session = self._find(name)
        if session is None:
            raise NotSignedIn(_sign_in_link(request))
        with session.lock:
            if self._find(name) is not session:  # the person signed out while this request waited for the lock
                raise NotSignedIn(_sign_in_link(request))
            try:
                self._renew(session)
            except SignInRefused as error:
                self._delete(name)
                raise NotSignedIn(_sign_in_link(request), str(error)) from error
            token = session.tokens.access
        with Client(self._address, credentials=ClientCredentials(self._ca, token=token)) as client:
            yield client

    def _renew(self, session: _Session) -> None:
        """Renew the tokens of a session if they are about to expire. The caller holds the lock of the session.

        Raises:
            SignInRefused: The provider refuses.
            ProviderUnavailable: The provider does not answer, and the access token has expired.
        """
        now = self._monotonic()
        if now < session.tokens.end - _REFRESH_BEFORE_SECONDS:
            return
        if now >= session.refresh_again:
            try:
                session.tokens = self._provider.refresh(session.tokens)
            except ProviderUnavailable:
                session.refresh_again = self._monotonic() + _REFRESH_AGAIN_SECONDS
        if self._monotonic() >= session.tokens.end:
            raise ProviderUnavailable

    def person(self, request: Request) -> str:
        """Return the person of the session; "" if there is none."""
        session = self._find(request.cookies.get(_SESSION_COOKIE, ""))
        return "" if session is None else session.tokens.subject

    def routes(self) -> Sequence[Route]:
        """Return the routes that sign people in and out."""
        return [
            Route(_SIGN_IN_PATH, self._begin, methods=["GET"]),
            Route(CALLBACK_PATH, self._finish, methods=["GET"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _begin(self, request: Request) -> Response:
        """Send the browser to the provider. The state can be used once, within ten minutes, by the same browser."""
        state, nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), new_verifier()
        # Another tab may have begun a sign-in: both end in the same browser, so both have its value.
        browser = request.cookies.get(_BEGUN_COOKIE) or secrets.token_urlsafe(32)
        wanted = local_path(request.query_params.get("next", "/"))
        with self._lock:
            now = self._monotonic()
            for old in [name for name, each in self._begun.items() if each.end <= now]:
                del self._begun[old]
            if len(self._begun) >= _ENTRIES_MAX:
                del self._begun[next(iter(self._begun))]
            self._begun[state] = _BegunSignIn(browser, nonce, verifier, wanted, now + _BEGUN_SECONDS_MAX)
        answer = RedirectResponse(self._provider.begin(state, nonce, verifier), 303, {"cache-control": "no-store"})
        _set_cookie(answer, _BEGUN_COOKIE, browser, _BEGUN_SECONDS_MAX)
        return answer

    async def _finish(self, request: Request) -> Response:
        """Begin the session of a person who returns from the provider."""
        found = self._take_begun(request)
        try:
            begun = self._check_begun(request, found)
            tokens = await run_in_threadpool(self._provider.finish, _code(request), begun.nonce, begun.verifier)
        except SignInRefused as error:
            request.state.person = ""
            return render_page(
                request,
                "sign_in.html",
                "You could not be signed in",
                status=400,
                problem=str(error),
                link=_sign_in_path(found.wanted if found else "/"),
            )
        name, now = secrets.token_urlsafe(32), self._monotonic()
        with self._lock:
            self._delete_expired(now)
            self._sessions.pop(request.cookies.get(_SESSION_COOKIE, ""), None)
            if len(self._sessions) >= _ENTRIES_MAX:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[name] = _Session(tokens, now, now)
            is_last = all(each.browser != begun.browser for each in self._begun.values())
        answer = RedirectResponse(begun.wanted, 303, {"cache-control": "no-store"})
        _set_cookie(answer, _SESSION_COOKIE, name, _SESSION_SECONDS_MAX)
        delete_purpose(answer)  # the person before, at the same browser, may have left it
        if is_last:  # otherwise another tab needs the cookie to finish its sign-in
            answer.delete_cookie(_BEGUN_COOKIE, secure=True, httponly=True)
        return answer

    def _take_begun(self, request: Request) -> _BegunSignIn | None:
        """Return the sign-in to which a state belongs, and forget it, so that the state cannot be used again.

        Return None if the browser of the request began no such sign-in.
        """
        with self._lock:
            begun = self._begun.pop(request.query_params.get("state", ""), None)
        browser = request.cookies.get(_BEGUN_COOKIE, "")
        is_own = begun is not None and secrets.compare_digest(begun.browser.encode(), browser.encode())
        return begun if is_own else None

    def _check_begun(self, request: Request, begun: _BegunSignIn | None) -> _BegunSignIn:
        """Return a sign-in that may be finished; raise SignInRefused otherwise."""
        if begun is None or begun.end <= self._monotonic():
            raise SignInRefused(
                "This sign-in was used already, is older than ten minutes, or was begun in another browser. Sign in again."
            )
        if request.query_params.get("iss", self._provider.issuer) != self._provider.issuer:  # RFC 9207
            raise SignInRefused("Another provider answered this sign-in. Sign in again.")
        return begun

    async def _sign_out(self, request: Request) -> Response:
        """End the session, here and, for its refresh token, at the provider."""
        await read_posted_form(request)
        session = self._delete(request.cookies.get(_SESSION_COOKIE, ""))
        if session is not None:
            await run_in_threadpool(self._revoke, session)
        request.state.person = ""
        answer = render_page(
            request, "signed_out.html", "You are signed out", provider_link=self._provider.end_session_address()
        )
        answer.delete_cookie(_SESSION_COOKIE, secure=True, httponly=True)
        delete_purpose(answer)
        return answer

    def _revoke(self, session: _Session) -> None:
        """Revoke the tokens of a session that was deleted, after a renewal that has begun before."""
        with session.lock:
            self._provider.revoke(session.tokens)

    def _find(self, name: str) -> _Session | None:
        """Return a session that has not ended."""
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and _has_ended(session, now):
                del self._sessions[name]
                return None
            if session is not None:
                session.used = now
            return session

    def _delete(self, name: str) -> _Session | None:
        """Delete a session; return it, or None if there is none."""
        with self._lock:
            return self._sessions.pop(name, None)

    def _delete_expired(self, now: float) -> None:
        """Delete the sessions that have ended."""
        for name in [name for name, each in self._sessions.items() if _has_ended(each, now)]:
            del self._sessions[name]


def _code(request: Request) -> str:
    """Return the code with which the provider sent a person back; raise SignInRefused if it refused the sign-in."""
    code = request.query_params.get("code", "")
    if not code:
        refusal = request.query_params.get("error", "without a reason")
        raise SignInRefused(f"The provider refused the sign-in: {refusal}. Sign in again, or ask the operator.")
    return code


def _has_ended(session: _Session, now: float) -> bool:
    """Return whether a session is too old, or was not used for too long."""
    return now >= session.begun + _SESSION_SECONDS_MAX or now >= session.used + _IDLE_SECONDS_MAX


def _sign_in_link(request: Request) -> str:
    """Return the address that signs a person in and then shows the requested page."""
    wanted = current_page(request) if request.method == "GET" else "/"
    return _sign_in_path(wanted)


def _sign_in_path(wanted: str) -> str:
    """Return the address that signs a person in and then shows a page."""
    return f"{_SIGN_IN_PATH}?next={quote(wanted, safe='')}"


def _set_cookie(answer: Response, name: str, text: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read and that no form of another origin sends.

    SameSite=Strict would drop the cookie on the way back from the provider. No page changes anything when it is only opened,
    except that a reading of evidence is recorded, and that needs the cookie of the purpose, which is strict.
    """
    answer.set_cookie(name, text, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")
