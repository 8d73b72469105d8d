"""The web application: routes, errors, and the headers of every answer."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from traceback import extract_tb

import grpc
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.connections import ClientSource, NotSignedIn, ProviderUnavailable, check_caller
from console.override_proposals import OverrideProposals, ProposalEnded
from console.pages import churn, contact, credit, evidence, home, models, override, papers
from console.pages.form import FormInvalid
from console.pages.purpose_form import set_purpose, show_purpose_form
from console.posted_form import read_posted_form
from console.purpose import PURPOSE_PATH, PurposeMissing, delete_purpose
from console.rendering import render_page
from console.working_papers import PapersRefused, WorkingPapers
from grounds_client import CallFailed, Client
from grounds_record.note import VerifierKey

_LOG = logging.getLogger("console")
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'",
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
# The pages with a script, which is a file of the console and speaks only with the console.
_SCRIPT_PATHS = frozenset({"/what-if"})
_SCRIPT_SOURCES = b"; script-src 'self'; connect-src 'self'"
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
_FILES = {
    "console.css": ("console", "static/console.css", "text/css"),
    "evidence.css": ("grounds_client.evidence", "evidence.css", "text/css"),
    "what_if.js": ("console", "static/what_if.js", "text/javascript"),
    "icon.svg": ("console", "static/icon.svg", "image/svg+xml"),
}
_PROPOSAL_ENDED = (
    "It was recorded already, or has waited for more than eight hours, or the console was restarted or had too many. Read the "
    "decision; if the override is missing there, fill in its form again."
)
_PROVIDER_UNAVAILABLE = (
    "The provider that signs people in does not answer, and your access token has expired. You stay signed in: try again in a "
    "minute. If it lasts, inform the operator."
)
_REFUSALS = (CallFailed, FormInvalid, PapersRefused, ProposalEnded, ProviderUnavailable, NotSignedIn)
_Page = Callable[[Request, Client], Response]
_POST_ROUTES: Mapping[str, _Page] = {
    "/apply": credit.apply_for_credit,
    "/decisions/{decision_id}/override": override.post_override,
    "/overrides/{proposal_id}": override.agree_to_proposal,
    "/evidence/{decision_id}/mark": papers.add_mark,
    "/churn/{market}/contact": contact.post_contact,
    "/log": home.compare_saved_checkpoint,
    PURPOSE_PATH: set_purpose,
}
_ROUTES: Mapping[str, _Page] = {
    "/": home.show_home,
    "/decisions": evidence.list_decisions,
    "/decisions/{decision_id}": credit.show_decision,
    "/customer-decisions": credit.list_customer_decisions,
    "/decisions/{decision_id}/override": override.show_override_form,
    "/overrides/{proposal_id}": override.show_proposal,
    "/evidence/{decision_id}": evidence.show_evidence,
    "/sample": evidence.show_sample,
    "/working-papers": papers.show_papers,
    "/working-papers/export.{kind}": papers.export_papers,
    "/apply": credit.show_application,
    "/what-if": credit.show_what_if,
    "/churn": churn.list_runs,
    "/churn/{market}": churn.list_customers,
    "/churn/{market}/customer": churn.show_customer,
    "/churn/{market}/contact": contact.show_contact_form,
    "/churn/{market}/evidence": churn.show_evidence,
    "/models": models.list_models,
    "/models/{bundle_id}": models.show_model,
    "/policy": models.show_policy,
    "/activations": evidence.list_activations,
    "/log": home.show_record_log,
    PURPOSE_PATH: show_purpose_form,
}


def create_app(
    source: ClientSource,
    key: VerifierKey | None,
    hosts: Sequence[str],
    working_papers: WorkingPapers | None = None,
    sign_in_routes: Sequence[Route] = (),
) -> Starlette:
    """Return the application.

    Args:
        source: Provides the client of each request.
        key: The record log's public key; None to check with the key that the server reports.
        hosts: The host names by which browsers may reach the console. Another name is rejected, because a foreign page
            could otherwise read the console by DNS rebinding.
        working_papers: The working papers of auditors; None if the console keeps none.
        sign_in_routes: The routes that sign people in and out, if the console does that itself.
    """
    app = Starlette(
        routes=[
            *(Route(path, _endpoint(path, page, source), methods=["GET"]) for path, page in _ROUTES.items()),
            *(Route(path, _endpoint(path, page, source), methods=["POST"]) for path, page in _POST_ROUTES.items()),
            Route("/static/{name}", _send_file),
            *sign_in_routes,
        ],
        middleware=[Middleware(_HeadersMiddleware), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _show_http_error},
    )
    app.state.log_key = key
    app.state.proposals = OverrideProposals()
    app.state.papers = working_papers
    app.state.has_sign_in = bool(sign_in_routes)
    return app


class _HeadersMiddleware:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = dict(_HEADERS)
        if scope.get("path") in _SCRIPT_PATHS:
            headers[b"content-security-policy"] += _SCRIPT_SOURCES

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers.items()]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _endpoint(path: str, page: _Page, source: ClientSource) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that answers a route: the page, or a page that explains the error.

    The server must accept the caller before the page begins, so no page shows or changes what the console itself keeps for
    a caller whom the server does not know.
    """

    def answer(request: Request) -> Response:
        try:
            with source.open(request) as client:
                check_caller(request, client)
                return page(request, client)
        except PurposeMissing as missing:
            return missing.redirect(request)
        except _REFUSALS as error:
            return _show_refusal(request, error)
        except Exception as error:  # noqa: BLE001 - a bug: the browser gets an incident id only
            return _show_bug(request, path, error)

    async def endpoint(request: Request) -> Response:
        request.state.person = source.person(request)
        if request.method == "POST":
            request.state.posted_fields = await read_posted_form(request)
        return await run_in_threadpool(answer, request)

    return endpoint


def _show_refusal(request: Request, error: Exception) -> Response:
    """Return the page that states why a request was refused, and what to do."""
    match error:
        case CallFailed():
            problems = [f"{each.field}: {each.problem}" for each in error.problems]
            status = _STATUS.get(error.code, HTTPStatus.BAD_GATEWAY)
            lines = dict.fromkeys([error.message, *problems])  # the message of a single problem is the problem
            return _error_page(request, status, error.reason or error.code.name, *lines)
        case FormInvalid():
            return _error_page(request, HTTPStatus.BAD_REQUEST, "This form cannot be sent", *error.problems)
        case PapersRefused():
            return _error_page(request, HTTPStatus.CONFLICT, "The working papers cannot be used", str(error))
        case ProposalEnded():
            title = "This override does not wait for a second person"
            return _error_page(request, HTTPStatus.NOT_FOUND, title, _PROPOSAL_ENDED)
        case ProviderUnavailable():
            title = "Your sign-in cannot be renewed now"
            return _error_page(request, HTTPStatus.SERVICE_UNAVAILABLE, title, _PROVIDER_UNAVAILABLE)
        case NotSignedIn():
            return _show_not_signed_in(request, error)
        case _:
            raise error


def _show_not_signed_in(request: Request, error: NotSignedIn) -> Response:
    """Return the page that asks a person to sign in."""
    request.state.person = ""  # a session may have ended while the request was answered
    text = "" if error.link else "The proxy in front of the console must add a bearer token to each request."
    answer = render_page(
        request,
        "sign_in.html",
        "You are not signed in",
        status=HTTPStatus.UNAUTHORIZED,
        problem=error.problem or text,
        link=error.link,
    )
    delete_purpose(answer)
    return answer


def _show_bug(request: Request, path: str, error: Exception) -> Response:
    """Log where an unexpected error happened, without its message, which may contain a customer's data."""
    incident = str(uuid.uuid4())
    frames = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    _LOG.error("bug: route %s, incident %s, %s at %s", path, incident, type(error).__name__, "; ".join(frames))
    return _error_page(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something is wrong with the console",
        f"Quote incident {incident} to your operator.",
    )


def _error_page(request: Request, status: int, title: str, *lines: str) -> Response:
    """Return a page that explains an error."""
    return render_page(request, "error.html", title, status=status, lines=lines)


async def _show_http_error(request: Request, error: Exception) -> Response:
    """Return the page for an error of the web framework, such as an unknown address."""
    assert isinstance(error, HTTPException), "registered for this class"
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _error_page(request, error.status_code, "Page not found", "The console has no page with this address.")
    return _error_page(request, error.status_code, "Not possible", error.detail)


async def _send_file(request: Request) -> Response:
    """Return a style sheet, a script or the icon."""
    name = str(request.path_params["name"])
    if name not in _FILES:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    package, path, media_type = _FILES[name]
    content = resources.files(package).joinpath(path).read_bytes()
    return Response(content, media_type=media_type, headers={"cache-control": "max-age=3600"})
