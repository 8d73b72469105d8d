"""Certificates, key sets and tokens that tests create with the cryptography library."""

import datetime as dt
import ipaddress
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

LOAN_DESK, CRM, AUDITOR = (f"spiffe://example.com/{name}" for name in ("loan-desk", "crm", "auditor"))
AUTHORITY = f"""
[[callers]]
principal = "{LOAN_DESK}"
roles = ["loan_desk"]
markets = ["DE"]

[callers.override_limits.CREDIT_MANAGER]
EUR = "5000"

[[callers]]
principal = "spiffe://example.com/loan-desk-fr"
roles = ["loan_desk"]
markets = ["FR"]

[[callers]]
principal = "{CRM}"
roles = ["crm"]
markets = ["*"]

[[callers]]
principal = "{AUDITOR}"
roles = ["auditor"]
markets = ["DE"]

# End of the authority file.
"""


@dataclass(frozen=True)
class CertificateAuthority:
    """A certificate authority.

    Attributes:
        certificate: The self-signed certificate of the authority.
        key: The private key of the authority.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str = "test CA") -> "CertificateAuthority":
        """Return a new certificate authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), -1, 10).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    def write(self, path: Path) -> Path:
        """Write the certificate; return the path."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def issue(
        self,
        folder: Path,
        name: str,
        uris: tuple[str, ...] = (),
        *,
        dns_names: tuple[str, ...] = (),
        first_day: float = -1,
        last_day: float = 10,
    ) -> tuple[Path, Path]:
        """Write a certificate for 127.0.0.1 and these URIs, and its private key.

        Args:
            folder: Folder of both files.
            name: Common name of the subject, and name of both files.
            uris: URI names (SAN) of the certificate.
            dns_names: DNS names (SAN) of the certificate.
            first_day: Start of the validity, in days from now.
            last_day: End of the validity, in days from now.

        Returns:
            The paths of the certificate and of the key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(each) for each in dns_names]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = _builder(subject, self.certificate.subject, key.public_key(), first_day, last_day).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        certificate, key_path = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, first_day: float, last_day: float
) -> x509.CertificateBuilder:
    """Return the builder of a certificate whose validity starts and ends at these days, counted from now."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=first_day))
        .not_valid_after(now + dt.timedelta(days=last_day))
    )


def write_key_set(path: Path, keys: dict[str, ed25519.Ed25519PrivateKey]) -> Path:
    """Write a JSON web key set (RFC 7517, RFC 8037) with the public halves of `keys`, by key id; return the path."""
    entries = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "kid": key_id,
            "x": urlsafe_b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode().rstrip("="),
        }
        for key_id, key in keys.items()
    ]
    path.write_text(json.dumps({"keys": entries}))
    return path


def encode_token(
    header: Mapping[str, object], claims: Mapping[str, object], key: ed25519.Ed25519PrivateKey | None
) -> str:
    """Return a JSON web token (RFC 7515). If `key` is None, the signature of the token is empty."""
    signed = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    signature = key.sign(signed.encode()) if key else b""
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"
