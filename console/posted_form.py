"""Reads a form that a browser posted, and refuses a form of another origin."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request

_BYTES_MAX = 65_536  # the longest text is a comment of 4,000 characters, of at most 12 bytes each when they are escaped


async def read_posted_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a posted form by name. If a name occurs more than once, return its last value.

    Raises:
        HTTPException: A page of another origin sent the form, or the form is too long.
    """
    if not _is_own_form(request):
        raise HTTPException(
            HTTPStatus.FORBIDDEN, "A form of another origin changes nothing here. Use the console's own form."
        )
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > _BYTES_MAX:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form must state its length, at most {_BYTES_MAX:,} bytes."
        )
    form = await request.form()
    return {name: text for name, text in form.multi_items() if isinstance(text, str)}


def _is_own_form(request: Request) -> bool:
    """Return False if a browser states that a page of another origin sent the form.

    Current browsers send Sec-Fetch-Site over TLS and to loopback addresses. Older browsers send only Origin, which is
    "null" if the page hides its address. A request with neither header is accepted, because programs other than
    browsers send it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}  # none: the person caused the request, for example with a bookmark
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
