"""An issuer rotates its key set, which the server reads from an HTTPS address, while callers request decisions."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from grounds_client.channel import ClientCredentials, open_channel
from tests.e2e.processes import Process, start
from tests.e2e.test_network import claims, extend, refusal, request_in, score, wait_for
from tests.server.edges.identity.certificates import AUTHORITY, CertificateAuthority, encode_token, write_key_set
from tests.server.edges.identity.test_tokens import KeySetServer, issuer

__all__ = ["issuer"]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CALLERS = 4
REFRESH_SECONDS = 5.0  # an unknown key id causes a refresh only if the last one is at least this old
SLOW_SECONDS = 1.0


class Load:
    """Callers that request one decision after another, each over its own channel, until `done` is set.

    Attributes:
        counts: The number of ended calls of each caller, including failed ones.
        failures: The errors of all callers.
    """

    def __init__(self) -> None:
        self.counts, self.failures = [0] * CALLERS, list[grpc.RpcError]()
        self.done = threading.Event()

    def call_repeatedly(self, number: int, address: str, credentials: ClientCredentials) -> None:
        """Request decisions as one caller."""
        with open_channel(address, credentials) as channel:
            while not self.done.wait(0.02):
                try:
                    score(channel, request_in("DE"))
                except grpc.RpcError as error:
                    self.failures.append(error)
                self.counts[number] += 1

    def wait_for_calls(self, count: int) -> None:
        """Wait until every caller has ended `count` further calls."""
        before = list(self.counts)
        wait_for(lambda: all(now >= then + count for now, then in zip(self.counts, before, strict=True)))


@contextmanager
def load(address: str, credentials: ClientCredentials) -> Iterator[Load]:
    """Run callers during the block."""
    made = Load()
    callers = [
        threading.Thread(target=made.call_repeatedly, args=(number, address, credentials)) for number in range(CALLERS)
    ]
    for caller in callers:
        caller.start()
    try:
        yield made
    finally:
        made.done.set()
        for caller in callers:
            caller.join(60)


class Issuer:
    """The keys of an issuer, and the file from which its clients read their token.

    Attributes:
        served: The HTTPS server of the key set.
        token_file: The file with the token.
    """

    def __init__(self, served: KeySetServer, folder: Path) -> None:
        self.served, self.token_file, self._folder = served, folder / "token", folder
        self._keys = {f"k{number}": ed25519.Ed25519PrivateKey.generate() for number in range(3)}

    def publish(self, *names: str) -> None:
        """Serve a key set with these keys."""
        keys = {name: self._keys[name] for name in names}
        self.served.content = write_key_set(self._folder / "served.json", keys).read_bytes()

    def sign_with(self, name: str) -> None:
        """Replace the token by a new one of the loan desk, which is signed with this key."""
        written = self._folder / "new-token"
        written.write_text(encode_token({"alg": "EdDSA", "kid": name}, claims(jti=str(uuid.uuid4())), self._keys[name]))
        written.replace(self.token_file)


@pytest.fixture
def rotating(issuer: KeySetServer, tmp_path: Path) -> Issuer:
    """Create an issuer that publishes its first key and signs with it."""
    created = Issuer(issuer, tmp_path)
    created.publish("k0")
    created.sign_with("k0")
    return created


@pytest.fixture
def server(config: Path, rotating: Issuer, tmp_path: Path) -> Iterator[Process]:
    """Start a server with TLS that reads the key set from the issuer."""
    ca = CertificateAuthority.create()
    ca.write(tmp_path / "ca.pem")
    ca.issue(tmp_path, "server")
    (tmp_path / "authority.toml").write_text(AUTHORITY)
    process = start(
        extend(
            config,
            tls_certificate=tmp_path / "server.pem",
            tls_key=tmp_path / "server.key",
            authority=tmp_path / "authority.toml",
            jwt_keys=f"https://127.0.0.1:{rotating.served.server_address[1]}/keys",
            jwt_issuer="https://issuer.example.com",
            jwt_audience="grounds",
        )
    )
    yield process
    process.stop()


def test_a_key_set_at_an_https_address_is_rotated_twice_under_load_without_a_failed_call(
    server: Process, rotating: Issuer, tmp_path: Path
) -> None:
    """The issuer publishes a new key, signs with it and withdraws the old one. Meanwhile it answers slowly."""
    credentials = ClientCredentials(tmp_path / "ca.pem", token_file=rotating.token_file)
    released = rotating.served.released
    with load(server.address, credentials) as running:
        for old, new in (("k0", "k1"), ("k1", "k2")):
            time.sleep(REFRESH_SECONDS)
            rotating.publish(old, new)
            before = rotating.served.requests
            released.clear()
            rotating.sign_with(new)
            wait_for(lambda before=before: rotating.served.requests > before)
            time.sleep(SLOW_SECONDS)
            released.set()
            running.wait_for_calls(5)
            rotating.publish(new)
            running.wait_for_calls(5)
    assert running.failures == []
    assert min(running.counts) > 20
    # The server has read a key set without the first key, so a token of this key no longer identifies a caller.
    rotating.sign_with("k0")
    with open_channel(server.address, credentials) as channel:
        assert refusal(lambda: score(channel, request_in("DE"))) == ("UNAUTHENTICATED", "CALLER_NOT_AUTHENTICATED")
