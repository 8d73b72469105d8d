"""The purpose for which evidence is read. The server records it with every reading, so nothing is read without one."""

from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

COOKIE = "purpose"


class PurposeMissing(Exception):
    """The person has not stated a purpose yet."""

    def redirect(self, request: Request) -> Response:
        """Return an answer that leads to the form, and from there back to the requested page."""
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/purpose?next={quote(wanted, safe='')}", 303)


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
