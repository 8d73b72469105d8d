"""The purpose for which evidence is read. The server records it with every reading, so nothing is read without one.

The browser keeps it in a cookie that names the person who stated it, so that the next person at the same browser does not
inherit it. The cookie ends with the sign-in.
"""

from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.query import current_page, uses_tls

_COOKIE = "purpose"
_SEPARATOR = ":"  # `quote` escapes it
PURPOSE_PATH = "/purpose"


class PurposeMissing(Exception):
    """The person has not stated a purpose yet."""

    def redirect(self, request: Request) -> Response:
        """Return an answer that leads to the form, and from there back to the requested page."""
        return RedirectResponse(f"{PURPOSE_PATH}?next={quote(current_page(request), safe='')}", 303)


def current_purpose(request: Request) -> str:
    """Return the purpose that the person of a request stated; "" if none, or if another person stated it."""
    person, _, purpose = request.cookies.get(_COOKIE, "").partition(_SEPARATOR)
    return unquote(purpose) if unquote(person) == _person(request) else ""


def keep_purpose(request: Request, answer: Response, purpose: str) -> None:
    """Keep the purpose of a person in a cookie of the browser's session.

    A browser sends the cookie only with requests that come from the console's own pages, so no other page can cause a reading.
    """
    text = _SEPARATOR.join(quote(each, safe="") for each in (_person(request), purpose))
    answer.set_cookie(_COOKIE, text, httponly=True, samesite="strict", secure=uses_tls(request))


def delete_purpose(answer: Response) -> None:
    """Delete the purpose from the browser."""
    answer.delete_cookie(_COOKIE, httponly=True)


def _person(request: Request) -> str:
    """Return the person of a request; "" if the console does not know it, or the page needs none."""
    return str(getattr(request.state, "person", ""))


def require_purpose(request: Request) -> str:
    """Return the purpose that the person stated.

    Raises:
        PurposeMissing: None was stated.
    """
    purpose = current_purpose(request)
    if not purpose:
        raise PurposeMissing
    return purpose
