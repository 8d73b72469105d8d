"""The console signs people in by OpenID Connect at a real provider over HTTPS, and the server verifies their tokens."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page
from typer.testing import CliRunner

import demo
from console.__main__ import app as command
from tests.conftest import ROOT
from tests.console.chromium import check_page, watch_page
from tests.console.conftest import prepare_settings
from tests.console.serving import open_console
from tests.console.test_pages import text_of
from tests.server.churn_runs import ChurnFamily
from tests.server.edges.identity.certificates import CertificateAuthority
from tests.small import SmallFamily

PERSON = "u17"
AUTHORITY = (
    '[[callers]]\nprincipal = "u17"\nroles = ["loan_desk", "auditor"]\nmarkets = ["*"]\n# End of the authority file.\n'
)


@dataclass(frozen=True)
class Site:
    """A console, its provider, and the file that makes the provider's tokens wrong."""

    url: str
    issuer: str
    ca: Path
    faults: Path

    @contextlib.contextmanager
    def wrong(self, **faults: object) -> Iterator[None]:
        self.faults.write_text(json.dumps(faults))
        try:
            yield
        finally:
            self.faults.write_text("{}")


class PlainBrowser:
    """Follows redirections over HTTPS and keeps cookies, as a browser does; the provider's form is filled in for a person."""

    def __init__(self, site: Site) -> None:
        self.site, self.cookies = site, CookieJar()
        trust = ssl.create_default_context(cafile=str(site.ca))
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def open(self, url: str, fields: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        """Return status, address and text of a page, after redirections."""
        content = None if fields is None else urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(url, content, {name.replace("_", "-"): text for name, text in headers.items()})  # noqa: S310 - https
        try:
            answer = self._opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        return answer.status, answer.url, answer.read().decode()

    def sign_in(self, wanted: str = "/models") -> tuple[int, str, str]:
        """Sign in as the person; return the last page."""
        _, form, _ = self.open(f"{self.site.url}/sign-in?next={urllib.parse.quote(wanted)}")
        assert form.startswith(self.site.issuer)
        return self.open(form, {"name": PERSON})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def site(
    small: SmallFamily, small_database: Path, churn_family: ChurnFamily, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Serve the provider, the server and the console, each with TLS."""
    folder = tmp_path_factory.mktemp("own-sign-in")
    settings = prepare_settings(folder, small, small_database, churn_family)
    authority = CertificateAuthority.create()
    ca = authority.write(folder / "ca.pem")
    for name in ("server", "provider", "console"):
        authority.issue(folder, name)
    faults, keys, port, console_port = folder / "faults.json", folder / "keys.json", free_port(), free_port()
    faults.write_text("{}")
    issuer, url = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{console_port}"
    (folder / "authority.toml").write_text(AUTHORITY)
    (folder / "secret").write_text("secret-of-the-console\n")
    (folder / "sign-in.toml").write_text(
        f'issuer = "{issuer}"\nclient_id = "console"\nclient_secret_file = "secret"\npublic_url = "{url}"\nca = "ca.pem"\n'
        'tls_certificate = "console.pem"\ntls_key = "console.key"\n'
    )
    settings |= {
        "GROUNDS_TLS_CERTIFICATE": str(folder / "server.pem"),
        "GROUNDS_TLS_KEY": str(folder / "server.key"),
        "GROUNDS_AUTHORITY": str(folder / "authority.toml"),
        "GROUNDS_JWT_KEYS": str(keys),
        "GROUNDS_JWT_ISSUER": issuer,
        "GROUNDS_JWT_AUDIENCE": "grounds",
    }
    arguments = [str(port), f"{url}/sign-in/callback", str(folder / "provider.pem"), str(folder / "provider.key")]
    provider = [sys.executable, "-m", "tests.console.provider", *arguments, str(faults), str(keys)]
    with subprocess.Popen(provider, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            with (
                demo.serving(folder / "log", **settings) as address,
                open_console(
                    "--address", address, "--ca", str(ca), "--sign-in", str(folder / "sign-in.toml"),
                    port=console_port,
                ) as served,
            ):  # fmt: skip
                assert served == url
                yield Site(url, issuer, ca, faults)
        finally:
            process.terminate()


def new_context(chromium: Chromium) -> BrowserContext:
    return chromium.new_context(ignore_https_errors=True)


def test_a_person_signs_in_reads_and_signs_out_in_the_browser(chromium: Chromium, site: Site) -> None:
    problems: list[str] = []
    context = new_context(chromium)
    page: Page = watch_page(context, problems)
    page.goto(f"{site.url}/decisions?market=DE")
    check_page(page)
    problems.clear()  # Chromium reports the status 401
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Name").fill(PERSON)
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{site.url}/decisions?market=DE")
    check_page(page)
    assert page.get_by_text(f"Signed in as {PERSON}").is_visible()
    cookie = next(each for each in context.cookies() if each["name"] == "__Host-session")
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert "eyJ" not in json.dumps(context.cookies())  # no token reaches the browser
    page.get_by_role("button", name="sign out").click()
    check_page(page)
    assert page.get_by_role("heading", name="You are signed out").is_visible()
    assert [each["name"] for each in context.cookies() if each["name"].startswith("__Host-")] == []
    assert problems == []

    page.goto(f"{site.url}/decisions")
    assert page.get_by_role("heading", name="You are not signed in").is_visible()


def test_the_request_to_the_provider_has_pkce_state_and_nonce_that_are_new_each_time(site: Site) -> None:
    queries = [
        urllib.parse.parse_qs(urllib.parse.urlsplit(PlainBrowser(site).open(f"{site.url}/sign-in")[1]).query)
        for _ in range(2)
    ]
    for query in queries:
        assert (query["response_type"], query["code_challenge_method"], query["scope"]) == (
            ["code"],
            ["S256"],
            ["openid"],
        )
        assert query["redirect_uri"] == [f"{site.url}/sign-in/callback"]
        assert min(len(query[name][0]) for name in ("state", "nonce", "code_challenge")) >= 43
    for name in ("state", "nonce", "code_challenge"):
        assert queries[0][name] != queries[1][name]


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"nonce": "of another sign-in"}, "it belongs to another sign-in (nonce)"),
        ({"id_audience": "another-application"}, "it was issued for another application (aud)"),
        ({"id_issuer": "https://evil.example.com"}, "another provider issued it (iss)"),
        ({"id_lifetime": -60}, "it has expired (exp)"),
        ({"id_subject": "u18"}, "name different persons"),
        ({"access_token": "opaque"}, "is not a signed token (JWT)"),
    ],
)
def test_an_invalid_token_is_refused_in_words(site: Site, faults: dict[str, object], words: str) -> None:
    browser = PlainBrowser(site)
    with site.wrong(**faults):
        status, _, page = browser.sign_in()

    assert (status, words in text_of(page)) == (400, True), text_of(page)
    assert browser.open(f"{site.url}/models")[0] == 401


def test_a_state_is_used_once_and_by_the_browser_that_began(site: Site) -> None:
    browser, other = PlainBrowser(site), PlainBrowser(site)
    _, form, _ = browser.open(f"{site.url}/sign-in")
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(form).query)["state"][0]
    refused = [
        other.open(
            f"{site.url}/sign-in/callback?state={state}&code=x"
        ),  # begun in another browser; the state is used now
        browser.open(form, {"name": PERSON}),
        browser.open(f"{site.url}/sign-in/callback?state=unknown&code=x"),
    ]
    for status, _, page in refused:
        assert (status, "was used already, is older than ten minutes, or was begun in another browser" in page) == (
            400,
            True,
        )
    assert browser.sign_in()[0] == 200


def test_a_refusal_of_the_provider_is_shown_as_text(site: Site) -> None:
    browser = PlainBrowser(site)
    _, form, _ = browser.open(f"{site.url}/sign-in")
    status, _, page = browser.open(form, {})
    assert (status, "The provider refused the sign-in: access_denied" in page) == (400, True)
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(browser.open(f"{site.url}/sign-in")[1]).query)["state"][0]
    _, _, page = browser.open(f"{site.url}/sign-in/callback?state={state}&error=%3Cscript%3E")
    assert "&lt;script&gt;" in page


def test_a_token_for_another_audience_is_refused_by_the_server(site: Site) -> None:
    with site.wrong(access_audience="another-server"):
        status, _, page = PlainBrowser(site).sign_in()
    assert (status, "CALLER_NOT_AUTHENTICATED" in page) == (401, True)


def test_an_access_token_is_renewed_before_it_expires_and_a_refused_renewal_ends_the_session(site: Site) -> None:
    browser = PlainBrowser(site)
    with site.wrong(lifetime=32):  # the console renews a token that is valid for less than 30 seconds
        assert browser.sign_in()[0] == 200
        time.sleep(2.5)
        assert browser.open(f"{site.url}/models")[0] == 200
    with site.wrong(lifetime=32):
        second = PlainBrowser(site)
        second.sign_in()
    time.sleep(2.5)
    with site.wrong(access_token="opaque"):  # noqa: S106 - no password
        status, _, page = second.open(f"{site.url}/models")
    assert (status, "renewed the sign-in of another person" in page) == (401, True)
    assert second.open(f"{site.url}/models")[0] == 401


def test_no_other_origin_signs_a_person_out_and_no_sign_in_leads_elsewhere(site: Site) -> None:
    browser = PlainBrowser(site)
    assert browser.sign_in("//evil.example.com/")[1] == f"{site.url}/"
    assert browser.open(f"{site.url}/sign-out", {}, sec_fetch_site="cross-site")[0] == 403
    assert browser.open(f"{site.url}/models")[0] == 200
    assert browser.open(f"{site.url}/sign-out", {}, sec_fetch_site="same-origin")[0] == 200
    assert browser.open(f"{site.url}/models")[0] == 401


def test_a_cookie_of_the_console_is_sent_over_tls_only(site: Site) -> None:
    browser = PlainBrowser(site)
    browser.sign_in()
    found = {cookie.name: cookie for cookie in browser.cookies}
    assert found["__Host-session"].secure
    assert found["__Host-session"].has_nonstandard_attr("HttpOnly")


def test_a_file_for_the_sign_in_is_checked_at_the_start(tmp_path: Path) -> None:
    complete = 'issuer = "https://a.example.com"\nclient_id = "c"\npublic_url = "https://b.example.com"\n'
    cases = {
        "": "issuer: is required; client_id: is required; public_url: is required",
        "issuer = [": "cannot be read as TOML",
        complete.replace("https://a", "http://a"): "issuer: must begin with https://",
        complete + 'colour = "red"': "colour: unknown; the entries are",
        complete + 'scope = "email"': "scope: must include openid",
        complete + 'tls_key = "k"': "specify both tls_certificate and tls_key",
        complete.replace("b.example.com", "b.example.com/console"): "public_url: must have no path",
        complete + 'client_secret_file = "missing"': "missing cannot be read",
        complete.replace("a.example.com", "127.0.0.1:1"): "cannot be read (ConnectError)",
    }
    path = tmp_path / "sign-in.toml"
    for content, problem in cases.items():
        path.write_text(content)
        done = CliRunner().invoke(command, ["--ca", "ca.pem", "--sign-in", str(path)])
        shown = "".join(re.sub(r"[│╭╮╰╯─]", "", done.output).split())
        assert (done.exit_code, "".join(problem.split()) in shown) == (2, True), done.output
    for options in (["--tokens-from-proxy", "--ca", "ca.pem"], []):
        done = CliRunner().invoke(command, ["--sign-in", str(path), *options])
        assert done.exit_code == 2
