"""The fields that a person filled in: the query of a request, and the fields of a posted form."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request


def query_entries(request: Request) -> dict[str, str]:
    """Return the fields of a request's query by name, without leading and trailing spaces. Omit empty fields.

    A form also sends the fields that a person left empty. If a name occurs more than once, the last value that is not
    empty is returned.
    """
    return {name: text.strip() for name, text in request.query_params.multi_items() if text.strip()}


def posted_entries(request: Request) -> dict[str, str]:
    """Return the fields of a posted form by name, as `query_entries` returns those of a query."""
    fields: Mapping[str, str] = request.state.posted_fields
    return {name: text.strip() for name, text in fields.items() if text.strip()}


def uses_tls(request: Request) -> bool:
    """Return whether the browser reached the console, or the proxy in front of it, over TLS."""
    return request.headers.get("x-forwarded-proto", request.url.scheme) == "https"


def current_page(request: Request) -> str:
    """Return the path and the query of a request, as the target of a link back to the same page."""
    query = urlencode(query_entries(request))
    return request.url.path + (f"?{query}" if query else "")
