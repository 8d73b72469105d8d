"""The query of a request: what a page was asked for."""

from urllib.parse import urlencode

from starlette.requests import Request


def query_entries(request: Request) -> dict[str, str]:
    """Return the fields of a request's query by name, without spaces around them. Empty fields are left out.

    A form sends every field, also those that a person left empty. The last of several fields with one name counts.
    """
    return {name: text.strip() for name, text in request.query_params.multi_items() if text.strip()}


def current_page(request: Request) -> str:
    """Return the path and the query of a request, to return to the same page later."""
    query = urlencode(query_entries(request))
    return request.url.path + (f"?{query}" if query else "")
