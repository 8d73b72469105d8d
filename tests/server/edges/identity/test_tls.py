"""The principal of a client certificate: the server reads it from the certificate itself, at each call."""

import time
from pathlib import Path

import pytest

from server.edges.identity.tls import certificate_principal
from server.errors import CallerNotAuthenticated
from tests.server.edges.identity.certificates import CRM, LOAN_DESK, CertificateAuthority

DAY = 86_400


def properties(certificate: Path, version: bytes = b"TLSv1.3") -> dict[str, list[bytes]]:
    """Return the properties that gRPC states for a connection with this client certificate."""
    return {"ssl_tls_version": [version], "x509_pem_cert": [certificate.read_bytes()], "peer_uri": [LOAN_DESK.encode()]}


def test_a_certificate_identifies_its_principal_until_it_expires(tmp_path: Path) -> None:
    """An open connection or a resumed TLS session can be older than the end of the certificate."""
    certificate, _ = CertificateAuthority.create().issue(tmp_path, "client", (CRM,), last_day=10)
    now = time.time()
    assert certificate_principal(properties(certificate), now + 9.9 * DAY) == CRM
    with pytest.raises(CallerNotAuthenticated, match="has expired"):
        certificate_principal(properties(certificate), now + 10.1 * DAY)


@pytest.mark.parametrize("uri", [f"{LOAN_DESK}\0", f"{LOAN_DESK}\0/other", f"{LOAN_DESK}\x7f", f"{LOAN_DESK}\n"])
def test_a_name_with_an_unprintable_character_identifies_nobody(tmp_path: Path, uri: str) -> None:
    """The property `peer_uri` of gRPC ends before a zero byte, and shows a different principal."""
    certificate, _ = CertificateAuthority.create().issue(tmp_path, "client", (uri,))
    with pytest.raises(CallerNotAuthenticated, match="exactly one URI name"):
        certificate_principal(properties(certificate), time.time())


@pytest.mark.parametrize("version", [b"TLSv1.2", b""])
def test_an_older_tls_version_identifies_nobody(tmp_path: Path, version: bytes) -> None:
    certificate, _ = CertificateAuthority.create().issue(tmp_path, "client", (LOAN_DESK,))
    with pytest.raises(CallerNotAuthenticated, match="does not use TLS"):
        certificate_principal(properties(certificate, version), time.time())


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_a_connection_without_a_readable_certificate_identifies_nobody(content: bytes) -> None:
    with pytest.raises(CallerNotAuthenticated):
        certificate_principal({"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [content]}, time.time())
