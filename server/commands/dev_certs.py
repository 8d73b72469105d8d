"""`dev-certs`: make certificates for trying out TLS on one machine."""

import datetime as dt
import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.commands.options import command_line
from server.commands.output import print_line
from server.errors import ConfigRefused

_TRUST_DOMAIN = "grounds.local"
# The name of each client certificate, and the roles of its entry in the authority file.
_CLIENTS = {
    "loan-desk": ["loan_desk"],
    "crm": ["crm", "crm_export"],
    "auditor": ["auditor"],
    "operator": ["operator"],
}
_CONFIG = """\
host = "127.0.0.1"
tls_certificate = "{folder}/server.pem"
tls_key = "{folder}/server.key"
tls_client_ca = "{folder}/ca.pem"
authority = "{folder}/authority.toml"
"""


def dev_certs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the files; it must not exist.")],
    days: Annotated[
        int, typer.Option(min=1, max=365, help="Number of days for which the certificates are valid.")
    ] = 30,
) -> None:
    """Make a certificate authority, certificates for the server and for each role, an authority file, and a configuration.

    They are for trying out TLS on this machine. The private key of the certificate authority is not stored, so nobody
    can make further certificates.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise ConfigRefused(f"{folder}: already exists; choose a folder that does not exist") from error
    folder = folder.resolve()
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Grounds development CA", end, ca_key.public_key(), ca_key, issuer=None)
    _write(folder / "ca.pem", ca.public_bytes(Encoding.PEM))
    names: dict[str, list[x509.GeneralName]] = {
        "server": [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
        **{name: [x509.UniformResourceIdentifier(f"spiffe://{_TRUST_DOMAIN}/{name}")] for name in _CLIENTS},
    }
    for name, alternative_names in names.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, end, key.public_key(), ca_key, issuer=ca.subject, names=alternative_names)
        _write(folder / f"{name}.pem", certificate.public_bytes(Encoding.PEM))
        _write(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    entries = [
        f'[[callers]]\nprincipal = "spiffe://{_TRUST_DOMAIN}/{name}"\nroles = {roles}\nmarkets = ["*"]\n'.replace(
            "'", '"'
        )
        for name, roles in _CLIENTS.items()
    ]
    _write(folder / "authority.toml", "\n".join([*entries, "# End of the authority file.\n"]).encode())
    _write(folder / "config.toml", _CONFIG.format(folder=folder).encode())
    options = " ".join(f"--{option} {folder / name}" for option, name in _client_options("loan-desk"))
    print_line(f"wrote certificates that are valid until {end:%Y-%m-%d %H:%M} UTC to {folder}")
    print_line("")
    print_line(f"start the server:   {command_line('serve', config=folder / 'config.toml')}")
    print_line(f"ask as loan desk:   grounds {options} policy")


def _client_options(name: str) -> list[tuple[str, str]]:
    """Return (option, file name) for each option with which the client authenticates as `name`."""
    return [("ca", "ca.pem"), ("certificate", f"{name}.pem"), ("key", f"{name}.key")]


def _certificate(
    common_name: str,
    end: dt.datetime,
    public_key: ec.EllipticCurvePublicKey,
    signing_key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Name | None,
    names: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    """Return a signed certificate. Without `issuer`, return the self-signed certificate of a certificate authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5))  # clocks may differ a little
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _write(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
