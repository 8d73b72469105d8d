"""The console passes each person's token on, and the server's authority table decides."""

import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

import demo
from tests.console.browsing import Browser
from tests.console.serving import open_console
from tests.server.edges.identity.certificates import AUDITOR, CRM, CertificateAuthority, encode_token, write_key_set

KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER = "https://issuer.example.com"


@pytest.fixture(scope="module")
def console_url(console_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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
        open_console("--address", address, "--ca", str(ca), "--tokens-from-proxy") as url,
    ):
        yield url


def token(person: str, seconds: float = 3600) -> str:
    """Return a bearer token of a person, which is valid for some seconds."""
    claims = {"iss": ISSUER, "aud": "grounds", "sub": person, "iat": time.time() - 7200, "exp": time.time() + seconds}
    return encode_token({"alg": "EdDSA", "kid": "k1"}, claims, KEY)


def test_a_request_without_a_valid_token_is_refused(console_url: str) -> None:
    assert "You are not signed in" in Browser(console_url).get("/decisions").html
    for authorization in ("Basic YTpi", "Bearer ", "Bearer nonsense", f"Bearer {token(AUDITOR, -3600)}"):
        assert Browser(console_url, authorization=authorization).get("/decisions").status == 401


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
