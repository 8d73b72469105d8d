"""Renders templates. Every text from outside is escaped, including invisible characters that could mislead a reader."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup as SafeMarkup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from console.purpose import PURPOSE_PATH, current_purpose
from console.query import current_page, query_entries
from grounds_client.evidence.markup import Markup
from grounds_client.formatting import (
    BUNDLE_ID_SHOWN,
    approvable_text,
    author_text,
    band_name,
    change_text,
    contact_text,
    counterfactual_text,
    cut_offs_text,
    decision_name,
    is_expired,
    money_text,
    number_text,
    policy_lines,
    policy_title,
    probability_text,
    reason_line,
    recourse_text,
    score_text,
    time_text,
    validity_text,
    warning_text,
)
from grounds_record.printable_text import escape_text

_MENU = (
    ("/decisions", "Decisions"),
    ("/sample", "Sample"),
    ("/working-papers", "Working papers"),
    ("/apply", "Request"),
    ("/what-if", "What if"),
    ("/churn", "Churn"),
    ("/models", "Models"),
    ("/policy", "Policy"),
    ("/activations", "Activations"),
    ("/log", "Record log"),
)


def _escape_hidden(value: object) -> object:
    """Return a text with its invisible characters escaped; Jinja escapes the markup afterwards."""
    return escape_text(value) if isinstance(value, str) and not isinstance(value, Markup | SafeMarkup) else value


def _environment() -> Environment:
    """Return the environment of all templates."""
    environment = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_hidden,
    )
    environment.filters.update(
        approvable=approvable_text,
        author=author_text,
        band=band_name,
        change=change_text,
        contact=contact_text,
        counterfactual=counterfactual_text,
        cut_offs=cut_offs_text,
        day=lambda time: time_text(time)[:10],
        decision=decision_name,
        expired=is_expired,
        money=money_text,
        number=number_text,
        policy_lines=policy_lines,
        policy_title=policy_title,
        probability=probability_text,
        reason=reason_line,
        recourse=recourse_text,
        score=score_text,
        time=time_text,
        validity=validity_text,
        warning=warning_text,
        short=lambda text: text[:BUNDLE_ID_SHOWN],
    )
    return environment


_ENVIRONMENT = _environment()


def render_page(request: Request, template: str, title: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page.

    Args:
        request: The request, whose path marks the entry of the menu.
        template: File name of the template.
        title: Title of the page.
        status: The HTTP status.
        values: The variables of the template.
    """
    is_answer = status == HTTPStatus.OK and request.url.path != PURPOSE_PATH
    html = _ENVIRONMENT.get_template(template).render(
        title=title,
        menu=_MENU,
        path=request.url.path,
        page=current_page(request),
        query=query_entries(request) if is_answer else {},
        purpose=current_purpose(request),
        signed_in=getattr(request.state, "person", "") if request.app.state.has_sign_in else "",
        **values,
    )
    return HTMLResponse(html, status, headers={"cache-control": "no-store"})


def render_markup(template: str, **values: Any) -> Markup:
    """Return a part of a page from a template."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def render_parts(request: Request, title: str, parts: Iterable[Markup]) -> Response:
    """Return a page of evidence from the parts that the client renders."""
    return render_page(request, "parts.html", title, parts=list(parts))
