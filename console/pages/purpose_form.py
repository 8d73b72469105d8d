"""The form in which a person states why evidence is read."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.local_path import local_path
from console.purpose import keep_purpose
from console.rendering import render_page
from grounds_client import Client

_PURPOSE_LENGTH_MAX = 200  # the most that the contract allows


def show_purpose_form(request: Request, _client: Client) -> Response:
    """Show the form."""
    return _show_form(request, local_path(request.query_params.get("next", "/")))


def set_purpose(request: Request, _client: Client) -> Response:
    """Keep the purpose, and return to the page that needs it."""
    fields = request.state.posted_fields
    purpose, wanted = fields.get("purpose", "").strip(), local_path(fields.get("next", "/"))
    if not purpose or len(purpose) > _PURPOSE_LENGTH_MAX:
        return _show_form(request, wanted, f"must have 1 to {_PURPOSE_LENGTH_MAX} characters", status=400)
    answer = RedirectResponse(wanted, 303)
    keep_purpose(request, answer, purpose)
    return answer


def _show_form(request: Request, wanted: str, problem: str = "", *, status: int = 200) -> Response:
    """Return the page with the form."""
    return render_page(
        request, "purpose.html", "Why do you read evidence?", status=status, wanted=wanted, problem=problem
    )
