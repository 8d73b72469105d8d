"""The console signs people in by OpenID Connect at a real provider over HTTPS, and the server verifies their tokens."""

import contextlib
import dataclasses
import html
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page
from typer.testing import CliRunner

import demo
from console.__main__ import app as command
from console.app import create_app
from console.provider import Provider, ProviderSettings
from console.sign_in import SignedInClients
from console.sign_in_file import read_sign_in_file
from tests.conftest import ROOT
from tests.console.chromium import check_page, watch_page
from tests.console.conftest import prepare_settings
from tests.console.serving import open_console, serve_over_tls
from tests.console.test_pages import text_of
from tests.server.churn_runs import ChurnFamily
from tests.server.edges.identity.certificates import CertificateAuthority
from tests.small import SmallFamily

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # some providers still sign with it
PERSON, SECOND = "u17", "u19"
AUTHORITY = (
    "".join(
        f'[[callers]]\nprincipal = "{name}"\nroles = ["loan_desk", "auditor"]\nmarkets = ["*"]\n'
        for name in (PERSON, SECOND)
    )
    + "# End of the authority file.\n"
)


@dataclass(frozen=True)
class Site:
    """A console, its server and its provider, and the file that makes the provider's tokens wrong."""

    url: str
    address: str
    issuer: str
    ca: Path
    faults: Path
    second_port: int

    @contextlib.contextmanager
    def wrong(self, **faults: object) -> Iterator[None]:
        self.faults.write_text(json.dumps(faults))
        try:
            yield
        finally:
            self.faults.write_text("{}")

    def grants(self) -> dict[str, int]:
        """Return how many requests for tokens the provider got, by grant type."""
        return dict(json.loads(PlainBrowser(self).open(f"{self.issuer}/grants")[2]))


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

    def sign_in(self, wanted: str = "/models", person: str = PERSON) -> tuple[int, str, str]:
        """Sign in as a person; return the last page."""
        _, form, _ = self.open(f"{self.site.url}/sign-in?next={urllib.parse.quote(wanted)}")
        assert form.startswith(self.site.issuer)
        return self.open(form, {"name": person})


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
    second_port = free_port()
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
    callbacks = f"{url}/sign-in/callback,https://127.0.0.1:{second_port}/sign-in/callback"
    arguments = [str(port), callbacks, str(folder / "provider.pem"), str(folder / "provider.key")]
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
                yield Site(url, address, issuer, ca, faults, second_port)
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
        (
            {"access_token": "opaque"},
            "is not a signed token (JWT) with a subject, so the server cannot verify it. Ask the operator: the file of --sign-in may",
        ),
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


def test_two_tabs_of_a_browser_can_sign_in_at_the_same_time(site: Site) -> None:
    browser = PlainBrowser(site)
    forms = [browser.open(f"{site.url}/sign-in?next={path}")[1] for path in ("/models", "/churn")]
    for form, path in zip(forms, ("/models", "/churn"), strict=True):
        assert browser.open(form, {"name": PERSON})[1] == f"{site.url}{path}"
    assert {cookie.name for cookie in browser.cookies} == {"__Host-session"}


def test_a_sign_in_that_failed_is_repeated_for_the_same_page(site: Site) -> None:
    browser = PlainBrowser(site)
    with site.wrong(nonce="of another sign-in"):
        _, _, page = browser.sign_in("/models?family=credit")
    (link,) = re.findall(r'href="(/sign-in[^"]*)"', page)
    form = browser.open(site.url + html.unescape(link))[1]
    assert browser.open(form, {"name": PERSON})[1] == f"{site.url}/models?family=credit"


def test_a_token_for_another_audience_is_refused_by_the_server(site: Site) -> None:
    with site.wrong(access_audience="another-server"):
        status, _, page = PlainBrowser(site).sign_in()
    assert (status, "CALLER_NOT_AUTHENTICATED" in page) == (401, True)


class Clock:
    """A monotonic clock that a test advances."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def __call__(self) -> float:
        return time.monotonic() + self._ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(site: Site, clock: Clock) -> Iterator[Site]:
    """Serve a second console, whose clock the test advances, in this process."""
    folder, url = site.ca.parent, f"https://127.0.0.1:{site.second_port}"
    settings = ProviderSettings(
        issuer=site.issuer,
        client_id="console",
        client_secret="secret-of-the-console",  # noqa: S106 - of the test's provider
        scope="openid",
        resource="",
        redirect_uri=f"{url}/sign-in/callback",
        ca=site.ca,
    )
    clients = SignedInClients(site.address, site.ca, Provider(settings, clock), clock)
    app = create_app(clients, None, ["127.0.0.1"], sign_in_routes=clients.routes())
    with serve_over_tls(app, site.second_port, str(folder / "console.pem"), str(folder / "console.key")):
        yield dataclasses.replace(site, url=url)


def test_an_access_token_is_renewed_once_before_it_expires(timed: Site, clock: Clock) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    renewals = timed.grants().get("refresh_token", 0)
    for seconds, expected in ((569, 0), (2, 1), (0, 1)):  # a token is valid for 600 seconds, and is renewed 30 before
        clock.advance(seconds)
        assert browser.open(f"{timed.url}/models")[0] == 200
        assert timed.grants().get("refresh_token", 0) == renewals + expected


def test_a_lifetime_that_the_provider_states_as_text_counts(timed: Site, clock: Clock) -> None:
    browser = PlainBrowser(timed)
    with timed.wrong(lifetime="600"):  # without a number, the console assumes 300 seconds
        browser.sign_in()
    renewals = timed.grants().get("refresh_token", 0)
    clock.advance(569)
    assert browser.open(f"{timed.url}/models")[0] == 200
    assert timed.grants().get("refresh_token", 0) == renewals


def test_requests_at_the_same_time_renew_a_token_once(timed: Site, clock: Clock) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    renewals = timed.grants().get("refresh_token", 0)
    clock.advance(580)
    with timed.wrong(seconds=0.5), ThreadPoolExecutor() as threads:
        found = list(threads.map(lambda _: browser.open(f"{timed.url}/models")[0], range(4)))
    assert found == [200] * 4
    assert timed.grants()["refresh_token"] == renewals + 1


@pytest.mark.parametrize("outage", ["dropped", "page", "error", "status"])
def test_an_outage_of_the_provider_ends_no_session(timed: Site, clock: Clock, outage: str) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    with timed.wrong(outage=outage):
        clock.advance(580)
        assert browser.open(f"{timed.url}/models")[0] == 200  # the old token is valid for 20 seconds more
        asked = timed.grants()["refresh_token"]
        assert browser.open(f"{timed.url}/models")[0] == 200
        assert timed.grants()["refresh_token"] == asked  # the next request does not wait for the provider again
        clock.advance(20)
        status, _, page = browser.open(f"{timed.url}/models")
        assert (status, "You stay signed in" in text_of(page)) == (503, True)
        assert f"Signed in as {PERSON}" in text_of(page)
    clock.advance(5)
    assert browser.open(f"{timed.url}/models")[0] == 200


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"access_subject": SECOND}, "renewed the sign-in of another person"),
        ({"access_token": "opaque"}, "renewed the sign-in of another person"),
    ],
)
def test_a_refused_renewal_ends_the_session(timed: Site, clock: Clock, faults: dict[str, object], words: str) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    clock.advance(580)
    with timed.wrong(**faults):
        status, _, page = browser.open(f"{timed.url}/models")
    assert (status, words in page, "Signed in as" in page) == (401, True, False)
    assert browser.open(f"{timed.url}/models")[0] == 401


def test_a_refresh_token_that_the_provider_does_not_know_ends_the_session(timed: Site, clock: Clock) -> None:
    browser = PlainBrowser(timed)
    with timed.wrong(refresh_token="unknown"):  # noqa: S106 - no password
        browser.sign_in()
    clock.advance(580)
    status, _, page = browser.open(f"{timed.url}/models")
    assert (status, "cannot be renewed (invalid_grant)" in page) == (401, True)


def test_a_session_ends_after_an_hour_without_use_and_after_twelve_hours(timed: Site, clock: Clock) -> None:
    idle, busy = PlainBrowser(timed), PlainBrowser(timed)
    idle.sign_in()
    clock.advance(3590)
    assert idle.open(f"{timed.url}/models")[0] == 200
    clock.advance(3600)
    assert idle.open(f"{timed.url}/models")[0] == 401

    busy.sign_in()
    for _ in range(12):
        clock.advance(3595)
        assert busy.open(f"{timed.url}/models")[0] == 200
    clock.advance(60)
    assert busy.open(f"{timed.url}/models")[0] == 401


@pytest.mark.parametrize("end", ["expiry", "refusal", "another sign-in"])
def test_the_next_person_at_a_browser_does_not_inherit_the_purpose(timed: Site, clock: Clock, end: str) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    evidence = f"{timed.url}/evidence/01a22c57-13e3-7367-b1a1-8e29bb6fb810"
    assert "Why do you read evidence?" in browser.open(evidence)[2]
    browser.open(f"{timed.url}/purpose", {"purpose": "Case 17", "next": "/models"})
    assert "DECISION_UNKNOWN" in browser.open(evidence)[2]

    if end != "another sign-in":
        clock.advance(3601 if end == "expiry" else 580)
        with timed.wrong(access_token="opaque"):  # noqa: S106 - no password
            assert browser.open(f"{timed.url}/models")[0] == 401
        assert "purpose" not in {cookie.name for cookie in browser.cookies}
    browser.sign_in(person=SECOND)
    page = browser.open(evidence)[2]
    assert ("Why do you read evidence?" in page, "Case 17" in page) == (True, False)


def test_a_renewal_that_begins_before_a_sign_out_leaves_no_session(timed: Site, clock: Clock) -> None:
    browser = PlainBrowser(timed)
    browser.sign_in()
    clock.advance(580)
    revoked = timed.grants().get("revoked", 0)
    with timed.wrong(seconds=0.5), ThreadPoolExecutor() as threads:
        renewal = threads.submit(browser.open, f"{timed.url}/models")
        time.sleep(0.2)  # the renewal waits for the provider
        browser.open(f"{timed.url}/sign-out", {}, sec_fetch_site="same-origin")
        assert timed.grants()["revoked"] == revoked + 1  # the provider still knew the token: it was the renewed one
        renewal.result()
    assert browser.open(f"{timed.url}/models")[0] == 401


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
    own = complete.replace("https://b.example.com", "{}").format
    authority = CertificateAuthority.create()
    authority.write(tmp_path / "ca.pem")
    authority.issue(tmp_path, "one")
    authority.issue(tmp_path, "other")
    (tmp_path / "text.pem").write_text("no certificate\n")
    (tmp_path / "empty").write_text("\n")
    key = load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "locked.key").write_bytes(locked)
    cases = {
        "": "issuer: is required; client_id: is required; public_url: is required",
        "issuer = [": "cannot be read as TOML",
        complete.replace("https://a", "http://a"): "issuer: must begin with https://",
        complete.replace(
            "https://a.example.com", "https://a.example.com?x=1"
        ): "issuer: must have no user name, no query",
        complete + 'colour = "red"': "colour: unknown; the entries are",
        complete + 'scope = "email"': "scope: must include openid",
        complete + 'tls_key = "one.key"': "specify both tls_certificate and tls_key",
        own("https://b.example.com/console"): "public_url: must have no path",
        own("https://[::1"): "public_url: must be an address such as https://grounds.example.com, got",
        own("https://"): "public_url: must be an address such as",
        own("https://h:99999"): "public_url: must be an address such as",
        own("https://two words"): "public_url: must be an address such as",
        own("https://h?x=1"): "public_url: must have no user name, no query (?) and no fragment (#)",
        own("https://h#x"): "public_url: must have no user name, no query (?) and no fragment (#)",
        own("https://user@h"): "public_url: must have no user name, no query (?) and no fragment (#)",
        complete + 'client_secret_file = "missing"': "missing cannot be read",
        complete + 'client_secret_file = "empty"': "empty is empty",
        complete + 'ca = "nope.pem"': "nope.pem cannot be read as PEM certificates (No such file or directory)",
        complete + 'ca = "text.pem"': "text.pem cannot be read as PEM certificates",
        complete + 'tls_certificate = "nope.pem"\ntls_key = "one.key"': "(No such file or directory)",
        complete + 'tls_certificate = "one.pem"\ntls_key = "other.key"': "(KEY_VALUES_MISMATCH)",
        complete + 'tls_certificate = "one.pem"\ntls_key = "locked.key"': "without a passphrase",
        # All problems at once.
        own("https://")
        + 'ca = "nope.pem"\ncolour = 3\nclient_secret_file = "missing"\ntls_key = "k"\n': "nope.pem cannot",
        complete.replace("a.example.com", "127.0.0.1:1") + 'ca = "ca.pem"': "cannot be read (ConnectError)",
    }
    path = tmp_path / "sign-in.toml"
    for content, problem in cases.items():
        path.write_text(content)
        done = CliRunner().invoke(command, ["--ca", "ca.pem", "--sign-in", str(path)])
        shown = "".join(re.sub(r"[│╭╮╰╯─]", "", done.output).split())
        assert (done.exit_code, "".join(problem.split()) in shown) == (2, True), (content, done.output)
        if "colour = 3" in content:
            assert [name in shown for name in ("public_url:", "colour:", "client_secret_file:", "tls_key")] == [
                True
            ] * 4
    for options in (["--tokens-from-proxy", "--ca", "ca.pem"], []):
        done = CliRunner().invoke(command, ["--sign-in", str(path), *options])
        assert done.exit_code == 2


def test_the_host_name_of_an_ipv6_address_has_brackets(tmp_path: Path) -> None:
    path = tmp_path / "sign-in.toml"
    path.write_text('issuer = "https://a.example.com"\nclient_id = "c"\npublic_url = "https://[::1]:8443/"\n')
    found = read_sign_in_file(path)
    assert (found.host, found.provider.redirect_uri) == ("[::1]", "https://[::1]:8443/sign-in/callback")
