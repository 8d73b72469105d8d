"""The console passes each person's token on, and the server's authority table decides."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from starlette.routing import Route

import demo
from console.app import create_app
from console.connections import TokenClients
from console.working_papers import WorkingPapers
from tests.console.browsing import Answer, Browser
from tests.console.serving import open_console
from tests.server.edges.identity.certificates import AUDITOR, CRM, CertificateAuthority, encode_token, write_key_set

KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER = "https://issuer.example.com"
WITHDRAWN = "spiffe://example.com/withdrawn"  # has no entry in the authority file


@pytest.fixture(scope="module")
def papers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("papers") / "papers"


@pytest.fixture(scope="module")
def console_url(
    console_settings: dict[str, str], papers_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Serve with TLS and bearer tokens, with the console in front."""
    folder = tmp_path_factory.mktemp("sign-in")
    authority = CertificateAuthority.create()
    authority.issue(folder, "server")
    ca = authority.write(folder / "ca.pem")
    callers = ((AUDITOR, '"auditor"'), (CRM, '"crm"'))
    (folder / "authority.toml").write_text(
        "".join(f'[[callers]]\nprincipal = "{name}"\nroles = [{role}]\nmarkets = ["*"]\n' for name, role in callers)
        + "# End of the authority file.\n"
    )
    settings = {
        "GROUNDS_TLS_CERTIFICATE": str(folder / "server.pem"),
        "GROUNDS_TLS_KEY": str(folder / "server.key"),
        "GROUNDS_AUTHORITY": str(folder / "authority.toml"),
        "GROUNDS_JWT_KEYS": str(write_key_set(folder / "keys.json", {"k1": KEY})),
        "GROUNDS_JWT_ISSUER": ISSUER,
        "GROUNDS_JWT_AUDIENCE": "grounds",
    }
    with (
        demo.serving(folder / "log", **console_settings, **settings) as address,
        open_console(
            "--address", address, "--ca", str(ca), "--tokens-from-proxy", "--papers", str(papers_folder)
        ) as url,
    ):
        yield url


def token(person: str, seconds: float = 3600, *, forged: bool = False) -> str:
    """Return a bearer token of a person, which is valid for some seconds; a forged one has no signature."""
    claims = {"iss": ISSUER, "aud": "grounds", "sub": person, "iat": time.time() - 7200, "exp": time.time() + seconds}
    return (
        encode_token({"alg": "none"}, claims, None)
        if forged
        else encode_token({"alg": "EdDSA", "kid": "k1"}, claims, KEY)
    )


def open_every_route(browser: Browser) -> dict[str, Answer]:
    """Return the answers of all routes of the application except the style sheets, by method and path."""
    found: dict[str, Answer] = {}
    for route in create_app(TokenClients("127.0.0.1:1", Path("ca.pem")), None, []).routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{\w+\}", "json", route.path)
        for method in (route.methods or set()) - {"HEAD"}:
            if not path.startswith("/static/"):
                found[f"{method} {path}"] = browser.post(path) if method == "POST" else browser.get(path)
    assert len(found) > 20
    return found


def test_no_route_answers_a_caller_whom_the_server_does_not_accept(console_url: str, papers_folder: Path) -> None:
    papers = WorkingPapers(papers_folder)
    for person in (AUDITOR, WITHDRAWN, "local"):
        papers.append(
            person,
            "READING",
            decision_id="json",
            purpose="Secret review",
            reading_id="r",
            reading_index=0,
            record_index=0,
        )
    cases = (
        (token(AUDITOR, forged=True), 401),
        (token(AUDITOR, -3600), 401),
        ("nonsense", 401),
        (token(WITHDRAWN), 403),
    )
    before = {file.name: file.read_bytes() for file in papers_folder.iterdir()}
    for bearer, status in cases:
        answers = open_every_route(Browser(console_url, authorization=f"Bearer {bearer}"))
        assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, status)
        assert not any("Secret review" in answer.html for answer in answers.values())
    assert {file.name: file.read_bytes() for file in papers_folder.iterdir()} == before

    auditor = Browser(console_url, authorization=f"Bearer {token(AUDITOR)}")
    assert "Secret review" in auditor.get("/working-papers/export.json").html
    assert auditor.post("/evidence/json/mark", mark="EXCEPTION", comment="").status == 200


def test_a_request_with_two_tokens_that_differ_is_refused(console_url: str) -> None:
    both = Browser(console_url, authorization=f"Bearer {token(CRM)}", x_forwarded_access_token=token(AUDITOR)).get(
        "/models"
    )
    same = token(AUDITOR)

    assert (both.status, "several bearer tokens that differ" in both.html) == (401, True)
    assert (
        Browser(console_url, authorization=f"Bearer {same}", x_forwarded_access_token=same).get("/models").status == 200
    )
    assert Browser(console_url, authorization="Basic YTpi", x_forwarded_access_token=same).get("/models").status == 200


def test_a_request_without_a_valid_token_is_refused(console_url: str) -> None:
    assert "You are not signed in" in Browser(console_url).get("/decisions").html
    for authorization in ("Basic YTpi", "Bearer ", "Bearer nonsense", f"Bearer {token(AUDITOR, -3600)}"):
        assert Browser(console_url, authorization=authorization).get("/decisions").status == 401


def test_a_purpose_belongs_to_the_person_who_stated_it(console_url: str) -> None:
    first, next_person = (Browser(console_url, x_forwarded_access_token=token(name)) for name in (AUDITOR, CRM))
    first.post("/purpose", purpose="Case 17", next="/models")
    for cookie in first.cookies:  # the proxy signs the next person in at the same browser
        next_person.cookies.set_cookie(cookie)

    assert "Case 17" in first.get("/models").html
    assert "Case 17" not in next_person.get("/models").html
    assert "Why do you read evidence?" in next_person.get("/evidence/json").html


def test_the_server_decides_what_each_person_may_read(console_url: str) -> None:
    auditor = Browser(console_url, authorization=f"Bearer {token(AUDITOR)}")
    crm = Browser(console_url, x_forwarded_access_token=token(CRM))

    assert auditor.get("/decisions").status == 200
    assert crm.get("/churn/DE").status == 200
    for refused in (crm.get("/decisions"), crm.get("/log"), auditor.get("/churn/DE")):
        assert refused.status == 403
        assert "PERMISSION_DENIED" in refused.html or "NOT_ALLOWED" in refused.html, refused.html


def test_the_first_page_leaves_out_what_a_person_may_not_read_and_states_it(console_url: str) -> None:
    page = Browser(console_url, x_forwarded_access_token=token(CRM)).get("/")

    assert page.status == 200
    assert "Not shown - record log" in page.html
    assert "/churn/DE" in page.html


def test_a_client_for_each_request_does_not_stop_the_console(console_url: str) -> None:
    """Without the channel that stays open, the console hung for good after some hundred requests, by chance."""
    browser = Browser(console_url, x_forwarded_access_token=token(AUDITOR))
    assert {browser.get("/models").status for _ in range(800)} == {200}
