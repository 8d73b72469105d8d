"""Gets pages of the console: over HTTP, with the cookies that a browser would keep, or from an application in this process."""

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import NamedTuple

from starlette.types import ASGIApp
from starlette.types import Message as AsgiMessage


class Answer(NamedTuple):
    """An answer of the console, after redirections."""

    status: int
    url: str
    headers: Message
    html: str


class Browser:
    """Keeps cookies, and follows redirections."""

    def __init__(self, url: str, **headers: str) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._url, self._headers = url, {name.replace("_", "-"): text for name, text in headers.items()}
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> Answer:
        return self._open(path, None)

    def post(self, path: str, **fields: str) -> Answer:
        return self._open(path, urllib.parse.urlencode(fields).encode())

    def _open(self, path: str, content: bytes | None) -> Answer:
        request = urllib.request.Request(self._url + path, content, self._headers)  # noqa: S310 - the console's own URL
        try:
            found = self._opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            found = error
        return Answer(found.status, found.url, found.headers, found.read().decode())


async def get_page(app: ASGIApp, path: str, query: str = "", **headers: str) -> tuple[int, str]:
    """Return the status and the HTML of a page of an application in this process."""
    sent: list[AsgiMessage] = []

    async def send(message: AsgiMessage) -> None:
        sent.append(message)

    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), *((name.encode(), text.encode()) for name, text in headers.items())],
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()
