"""Only a bearer token with a valid signature, issuer, audience, time and subject identifies a caller."""

import asyncio
import http.server
import json
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from server.edges.identity.tokens import TokenKeys, TokenVerifier
from server.errors import CallerNotAuthenticated, TokenKeysRefused
from tests.server.edges.identity.certificates import LOAN_DESK, CertificateAuthority, encode_token, write_key_set

NOW = 1_800_000_000.0
HEADER = {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
CLAIMS = {"sub": LOAN_DESK, "iss": "https://issuer.example.com", "aud": "grounds", "iat": NOW - 60, "exp": NOW + 300}
KEY = ed25519.Ed25519PrivateKey.generate()
NO_ALGORITHM = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "none", "kid": "k1", "x": "AA"}]}'
OWN_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": urlsafe_b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("="),
}


class Clocks:
    """The clock of the token keys and the clock of the verifier, which a test sets to the same time.

    Attributes:
        now: The time in seconds that both clocks show.
    """

    def __init__(self) -> None:
        self.now = NOW

    def read(self) -> float:
        """Return the time that both clocks show."""
        return self.now


@pytest.fixture
def clocks() -> Clocks:
    """Return clocks that show NOW."""
    return Clocks()


@pytest.fixture
def verifier(tmp_path: Path, clocks: Clocks) -> TokenVerifier:
    """Return a verifier that trusts KEY."""
    keys = TokenKeys(str(write_key_set(tmp_path / "keys.json", {"k1": KEY})), clocks.read)
    return TokenVerifier(keys, "https://issuer.example.com", "grounds", clocks.read)


async def test_the_subject_of_a_valid_token_is_the_principal(verifier: TokenVerifier) -> None:
    assert await verifier.principal(f"Bearer {encode_token(HEADER, CLAIMS, KEY)}") == LOAN_DESK


@pytest.mark.parametrize(
    ("header", "claims", "key"),
    [
        pytest.param({**HEADER, "alg": "none"}, CLAIMS, None, id="algorithm none"),
        pytest.param({**HEADER, "alg": "none"}, CLAIMS, KEY, id="algorithm none with a signature"),
        pytest.param({**HEADER, "alg": "HS256"}, CLAIMS, KEY, id="symmetric algorithm"),
        pytest.param({**HEADER, "alg": "RS256"}, CLAIMS, KEY, id="algorithm of another type of key"),
        pytest.param(HEADER, CLAIMS, ed25519.Ed25519PrivateKey.generate(), id="signed by another key"),
        pytest.param({**HEADER, "kid": "k2"}, CLAIMS, KEY, id="unknown key id"),
        pytest.param({"alg": "EdDSA"}, CLAIMS, KEY, id="no key id"),
        pytest.param(HEADER, {**CLAIMS, "aud": "another server"}, KEY, id="another audience"),
        pytest.param(HEADER, {**CLAIMS, "iss": "https://other.example.com"}, KEY, id="another issuer"),
        pytest.param(HEADER, {**CLAIMS, "exp": NOW - 11}, KEY, id="expired"),
        pytest.param(HEADER, {**CLAIMS, "nbf": NOW + 11}, KEY, id="not valid yet"),
        pytest.param(HEADER, {**CLAIMS, "iat": NOW + 11}, KEY, id="issued in the future"),
        pytest.param(
            HEADER, {**CLAIMS, "iat": NOW + 11, "nbf": NOW - 60}, KEY, id="issued in the future, valid before"
        ),
        pytest.param(HEADER, {**CLAIMS, "iat": "soon", "nbf": NOW - 60}, KEY, id="issue time that is no number"),
        pytest.param(HEADER, {**CLAIMS, "nbf": None}, KEY, id="start that is no number"),
        pytest.param(HEADER, {**CLAIMS, "exp": "never"}, KEY, id="end that is no number"),
        pytest.param(HEADER, {**CLAIMS, "exp": str(NOW + 300)}, KEY, id="end as text"),
        pytest.param(HEADER, {**CLAIMS, "exp": float("nan")}, KEY, id="end that is not a time"),
        pytest.param(HEADER, {**CLAIMS, "exp": float("inf")}, KEY, id="infinite end"),
        pytest.param(HEADER, {**CLAIMS, "exp": 10**400}, KEY, id="end that is too large for a float"),
        pytest.param({**HEADER, "kid": "../../k1"}, CLAIMS, KEY, id="key id that is a path"),
        pytest.param({**HEADER, "kid": ["k1"]}, CLAIMS, KEY, id="key id that is a list"),
        pytest.param({"alg": "EdDSA", "jwk": OWN_KEY}, CLAIMS, KEY, id="key inside the token"),
        pytest.param({**HEADER, "alg": ["EdDSA"]}, CLAIMS, KEY, id="list of algorithms"),
        pytest.param({**HEADER, "b64": False, "crit": ["b64"]}, CLAIMS, KEY, id="payload that is not encoded"),
        pytest.param({**HEADER, "crit": ["exp"], "exp": 1}, CLAIMS, KEY, id="unknown critical extension"),
        pytest.param(HEADER, {**CLAIMS, "aud": ["other", "another"]}, KEY, id="list of other audiences"),
        pytest.param(HEADER, {**CLAIMS, "aud": {"grounds": True}}, KEY, id="audience that is an object"),
        pytest.param(HEADER, {**CLAIMS, "iss": ["https://issuer.example.com"]}, KEY, id="list of issuers"),
        pytest.param(HEADER, {**CLAIMS, "sub": "local"}, KEY, id="name of unidentified callers"),
        pytest.param(HEADER, {**CLAIMS, "sub": "anyone"}, KEY, id="name of callers of health checks"),
        pytest.param(HEADER, {**CLAIMS, "sub": "server"}, KEY, id="name of the server in its own records"),
        pytest.param(HEADER, {**CLAIMS, "sub": f"{LOAN_DESK}\0"}, KEY, id="subject with a zero byte"),
        pytest.param(HEADER, {**CLAIMS, "sub": ""}, KEY, id="empty subject"),
        pytest.param(
            HEADER, {**CLAIMS, "sub": "x" * 129}, KEY, id="subject that is too long for the header of a record"
        ),
        pytest.param(HEADER, {**CLAIMS, "sub": "u17@example.com"}, KEY, id="e-mail address, which no header may have"),
        pytest.param(HEADER, {**CLAIMS, "sub": "a\nb"}, KEY, id="subject with a line break"),
        pytest.param(HEADER, {**CLAIMS, "sub": 7}, KEY, id="subject that is no text"),
        *(
            pytest.param(
                HEADER, {name: value for name, value in CLAIMS.items() if name != missing}, KEY, id=f"no {missing}"
            )
            for missing in CLAIMS
        ),
    ],
)
async def test_a_token_that_breaks_a_rule_is_rejected(
    verifier: TokenVerifier,
    header: Mapping[str, object],
    claims: Mapping[str, object],
    key: ed25519.Ed25519PrivateKey | None,
) -> None:
    token = encode_token(header, claims, key)
    with pytest.raises(CallerNotAuthenticated) as caught:
        await verifier.principal(f"Bearer {token}")
    assert token not in str(caught.value)
    assert str(caught.value) == "the bearer token is not valid; request a new token from its issuer"


@pytest.mark.parametrize("part", ["header", "claims"])
async def test_a_deeply_nested_token_is_rejected(verifier: TokenVerifier, part: str) -> None:
    nested = b'{"a":' + 9000 * b"["
    parts = [
        nested if part == name else json.dumps(each).encode() for name, each in (("header", HEADER), ("claims", CLAIMS))
    ]
    signed = ".".join(urlsafe_b64encode(each).decode().rstrip("=") for each in parts)
    signature = urlsafe_b64encode(KEY.sign(signed.encode())).decode().rstrip("=")
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(f"Bearer {signed}.{signature}")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dXNlcg==", "x", "Bearer a.b", "Bearer a.b.c.d"]
)
async def test_metadata_that_contains_no_token_is_rejected(verifier: TokenVerifier, authorization: str) -> None:
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(authorization)


async def test_a_changed_token_is_rejected_although_the_original_was_accepted(verifier: TokenVerifier) -> None:
    token = encode_token(HEADER, CLAIMS, KEY)
    await verifier.principal(f"Bearer {token}")
    forged = encode_token(HEADER, {**CLAIMS, "sub": "spiffe://example.com/auditor"}, None).rstrip(".")
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(f"Bearer {forged}.{token.rsplit('.', 1)[1]}")


async def test_an_accepted_token_is_rejected_after_its_end(verifier: TokenVerifier, clocks: Clocks) -> None:
    token = f"Bearer {encode_token(HEADER, CLAIMS, KEY)}"
    assert await verifier.principal(token) == LOAN_DESK
    clocks.now = NOW + 299
    assert await verifier.principal(token) == LOAN_DESK
    clocks.now = NOW + 311
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(token)


async def test_tokens_of_a_new_key_are_accepted_without_a_restart(
    tmp_path: Path, verifier: TokenVerifier, clocks: Clocks
) -> None:
    """A token with an unknown key id makes the server read the key set again; many calls may do so at the same time."""
    new = ed25519.Ed25519PrivateKey.generate()
    write_key_set(tmp_path / "keys.json", {"k1": KEY, "k2": new})
    clocks.now += 6
    token = encode_token({**HEADER, "kid": "k2"}, CLAIMS, new)
    principals = await asyncio.gather(*(verifier.principal(f"Bearer {token}") for _ in range(20)))
    assert principals == [LOAN_DESK] * 20
    assert await verifier.principal(f"Bearer {encode_token(HEADER, CLAIMS, KEY)}") == LOAN_DESK


async def test_a_token_of_a_withdrawn_key_is_rejected_although_it_was_accepted_before(
    tmp_path: Path, verifier: TokenVerifier, clocks: Clocks
) -> None:
    """After five minutes, a call with the accepted token starts a new reading of the key set, and later calls fail."""
    token = f"Bearer {encode_token(HEADER, {**CLAIMS, 'exp': NOW + 3600}, KEY)}"
    assert await verifier.principal(token) == LOAN_DESK
    write_key_set(tmp_path / "keys.json", {"k2": ed25519.Ed25519PrivateKey.generate()})
    clocks.now += 299
    assert await verifier.principal(token) == LOAN_DESK
    clocks.now += 2
    await verifier.principal(token)
    await wait_for_refresh(verifier._keys)
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(token)


async def test_a_broken_key_set_does_not_replace_the_present_keys(
    tmp_path: Path, verifier: TokenVerifier, clocks: Clocks
) -> None:
    (tmp_path / "keys.json").write_text('{"keys": [')
    clocks.now += 301
    for _ in range(3):
        assert (
            await verifier.principal(f"Bearer {encode_token(HEADER, {**CLAIMS, 'exp': NOW + 900}, KEY)}") == LOAN_DESK
        )
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}', "\xff", "[" * 100_000, NO_ALGORITHM]
)
def test_a_file_that_is_no_key_set_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(TokenKeysRefused, match="not a readable JSON web key set"):
        TokenKeys(str(path))


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"kid": 7}, {"kid": ""}, {"kid": None}])
def test_a_key_set_without_a_usable_key_is_refused(tmp_path: Path, changes: Mapping[str, object]) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{**OWN_KEY, "kid": "k1", "use": "sig"} | dict(changes)]}))
    with pytest.raises(TokenKeysRefused, match="has no key for RS256, ES256, EdDSA"):
        TokenKeys(str(path))


def test_a_symmetric_key_in_the_key_set_is_ignored(tmp_path: Path) -> None:
    """Everybody who verifies with a symmetric key can also sign with it, so the server must not accept such a key."""
    path = write_key_set(tmp_path / "keys.json", {"k1": KEY})
    content = json.loads(path.read_text())
    content["keys"].append({"kty": "oct", "kid": "k3", "alg": "HS256", "k": "c2VjcmV0"})
    path.write_text(json.dumps(content))
    keys = TokenKeys(str(path))
    assert asyncio.run(keys.find("k3")) is None


class KeySetHandler(http.server.BaseHTTPRequestHandler):
    """Answers with the key set of the server, or with its failure."""

    def do_GET(self) -> None:
        """Answer a request."""
        server = self.server
        assert isinstance(server, KeySetServer)
        server.requests += 1
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(server.content[:1])
        while not server.released.wait(1):
            self.wfile.write(b" ")
        self.wfile.write(server.content[1:])

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class KeySetServer(http.server.ThreadingHTTPServer):
    """A real HTTPS server of a key set, which sends one byte and then waits for `released`, if `released` is not set."""

    content, status, requests = b"", 200, 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.released = threading.Event()
        self.released.set()


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeySetServer]:
    """Run an HTTPS server, whose certificate the test's process trusts."""
    ca = CertificateAuthority.create()
    ca.write(tmp_path / "issuer-ca.pem")
    certificate, key = ca.issue(tmp_path, "issuer")
    server = KeySetServer(("127.0.0.1", 0), KeySetHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "issuer-ca.pem"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def wait_for_refresh(keys: TokenKeys) -> None:
    """Wait until the key set was read again."""
    if keys._refresh is not None:
        await keys._refresh


async def test_a_key_set_at_an_https_address_follows_rotations_and_survives_an_outage(
    issuer: KeySetServer, clocks: Clocks, tmp_path: Path
) -> None:
    def serve_keys(**keys: ed25519.Ed25519PrivateKey) -> None:
        issuer.content = write_key_set(tmp_path / "served.json", keys).read_bytes()

    def token(key_id: str, key: ed25519.Ed25519PrivateKey, number: int) -> str:
        return f"Bearer {encode_token({**HEADER, 'kid': key_id}, {**CLAIMS, 'jti': str(number)}, key)}"

    new = ed25519.Ed25519PrivateKey.generate()
    serve_keys(k1=KEY)
    keys = TokenKeys(f"https://127.0.0.1:{issuer.server_address[1]}/keys", clocks.read)
    verifier = TokenVerifier(keys, "https://issuer.example.com", "grounds", lambda: NOW)
    assert await verifier.principal(token("k1", KEY, 1)) == LOAN_DESK

    serve_keys(k1=KEY, k2=new)
    clocks.now += 6  # an unknown key id causes a fetch, but at most one in five seconds
    assert await verifier.principal(token("k2", new, 2)) == LOAN_DESK

    issuer.status, issuer.content = 503, b"out of order"
    before = issuer.requests
    clocks.now += 301  # the key set is old, but the issuer does not answer: the keys stay in use
    for number in range(3, 6):
        assert await verifier.principal(token("k1", KEY, number)) == LOAN_DESK
    await wait_for_refresh(keys)
    assert await verifier.principal(token("k1", KEY, 6)) == LOAN_DESK
    assert issuer.requests == before + 1

    issuer.status = 200
    serve_keys(k2=new)
    clocks.now += 301
    assert await verifier.principal(token("k2", new, 7)) == LOAN_DESK
    await wait_for_refresh(keys)
    with pytest.raises(CallerNotAuthenticated):
        await verifier.principal(token("k1", KEY, 8))


async def test_an_issuer_that_answers_byte_by_byte_delays_a_call_by_at_most_five_seconds(
    issuer: KeySetServer, clocks: Clocks, tmp_path: Path
) -> None:
    issuer.content = write_key_set(tmp_path / "served.json", {"k1": KEY}).read_bytes()
    keys = TokenKeys(f"https://127.0.0.1:{issuer.server_address[1]}/keys", clocks.read)
    clocks.now += 6
    issuer.released.clear()
    begin = time.monotonic()
    assert await keys.find("unknown") is None
    delay = time.monotonic() - begin
    assert keys._refresh is not None
    assert await keys.find("k1") is not None
    issuer.released.set()
    await wait_for_refresh(keys)
    assert 4 < delay < 30  # without the time limit, the call waits until the issuer has answered


def test_a_key_set_server_with_an_untrusted_certificate_is_refused(issuer: KeySetServer, tmp_path: Path) -> None:
    issuer.content = write_key_set(tmp_path / "served.json", {"k1": KEY}).read_bytes()
    CertificateAuthority.create("other").write(tmp_path / "issuer-ca.pem")

    with pytest.raises(TokenKeysRefused, match="not a readable JSON web key set"):
        TokenKeys(f"https://127.0.0.1:{issuer.server_address[1]}/keys")
