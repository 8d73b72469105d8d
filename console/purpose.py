"""The purpose for which evidence is read. The server records it with every reading, so nothing is read without one."""

from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.query import current_page

COOKIE = "purpose"
PURPOSE_PATH = "/purpose"


class PurposeMissing(Exception):
    """The person has not stated a purpose yet."""

    def redirect(self, request: Request) -> Response:
        """Return an answer that leads to the form, and from there back to the requested page."""
        return RedirectResponse(f"{PURPOSE_PATH}?next={quote(current_page(request), safe='')}", 303)


def current_purpose(request: Request) -> str:
    """Return the purpose that the person stated; "" if none."""
    return unquote(request.cookies.get(COOKIE, ""))


def require_purpose(request: Request) -> str:
    """Return the purpose that the person stated.

    Raises:
        PurposeMissing: None was stated.
    """
    purpose = current_purpose(request)
    if not purpose:
        raise PurposeMissing
    return purpose
