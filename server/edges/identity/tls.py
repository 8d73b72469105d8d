"""TLS of the server: credentials that are read again when their files change, and the principal of a certificate.

The principal is the SPIFFE id of the client certificate: its single URI name (SAN) of the form spiffe://DOMAIN/PATH.
See the SPIFFE X.509-SVID specification.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from server.edges.identity.callers import is_principal
from server.errors import CallerNotAuthenticated, TlsRefused

LOG = structlog.get_logger()
_TLS_VERSION = b"TLSv1.3"
_CERTIFICATES_MAX = 1000  # client certificates whose names are remembered, because parsing one costs about 30 us


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of the server's TLS.

    Attributes:
        certificate: PEM file with the server's certificate, followed by intermediate certificates.
        key: PEM file with the private key of the certificate.
        client_ca: PEM file with the certificates that sign client certificates. None if clients identify themselves by
            tokens instead.
    """

    certificate: Path
    key: Path
    client_ca: Path | None

    def paths(self) -> list[Path]:
        """Return the paths of all files."""
        return [self.certificate, self.key, *([self.client_ca] if self.client_ca else [])]


class CertificateFiles:
    """Credentials of a server. Each new connection uses the newest valid content of the files.

    gRPC asks for the credentials at each handshake. If the files have changed since the last handshake, this class
    reads and checks them. If they are invalid, for example because only one of two files has been replaced so far, the
    previous content stays in use, and the next handshake reads the files again.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            TlsRefused: A file is missing or invalid, or the key does not belong to the certificate.
        """
        self._files = files
        self._versions = self._file_versions()
        self._configuration = _read_configuration(files)
        self._problem = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a gRPC server. Clients need a certificate if `client_ca` is set."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            self._changed_configuration,  # type: ignore[arg-type] # None keeps the previous configuration
            self._files.client_ca is not None,
        )

    def _changed_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new content of the files; None to keep the previous content. gRPC calls this in its own thread."""
        try:
            versions = self._file_versions()
            if versions == self._versions:
                return None
            configuration = _read_configuration(self._files)
        except TlsRefused as error:
            if str(error) != self._problem:
                LOG.error("TLS files are invalid; the previous certificate stays in use", problem=str(error))
                self._problem = str(error)
            return None
        self._versions, self._problem = versions, ""
        LOG.info("TLS files were read again")
        return configuration

    def _file_versions(self) -> list[tuple[int, int, int]]:
        """Return inode, size and modification time of each file. Symbolic links are followed."""
        try:
            stats = [path.stat() for path in self._files.paths()]
        except OSError as error:
            raise TlsRefused(f"{error.filename}: {error.strerror}; check the TLS settings") from error
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _read_configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    """Read and check the files.

    Raises:
        TlsRefused: A file is missing or invalid, or the key does not belong to the certificate.
    """
    certificate, key = _read(files.certificate), _read(files.key)
    client_ca = _read(files.client_ca) if files.client_ca else None
    try:
        public_key = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError) as error:
        raise TlsRefused(f"{files.key}: not a private key in PEM form without a password") from error
    encoding = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if _certificates(files.certificate, certificate)[0].public_key().public_bytes(*encoding) != public_key.public_bytes(
        *encoding
    ):
        raise TlsRefused(f"{files.key}: the key does not belong to the first certificate of {files.certificate}")
    if client_ca is not None and files.client_ca is not None:
        _certificates(files.client_ca, client_ca)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


def _read(path: Path) -> bytes:
    """Return the content of a file. Raises TlsRefused if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsRefused(f"{path}: {error.strerror}; check the TLS settings") from error


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one. Raises TlsRefused if the file is invalid."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsRefused(f"{path}: not a certificate in PEM form") from error


def require_tls_version(auth_context: Mapping[str, Iterable[bytes]]) -> None:
    """Check that the connection uses TLS 1.3. gRPC has no option that makes it refuse TLS 1.2 in the handshake.

    Raises:
        CallerNotAuthenticated: The connection uses another version or no TLS.
    """
    if list(auth_context.get("ssl_tls_version", ())) != [_TLS_VERSION]:
        raise CallerNotAuthenticated("the connection does not use TLS 1.3; enable TLS 1.3 in the client")


def certificate_principal(auth_context: Mapping[str, Iterable[bytes]], now: float) -> str:
    """Return the SPIFFE id of the client's certificate.

    Args:
        auth_context: The properties of the connection, from gRPC's `ServicerContext.auth_context`.
        now: The present time, in seconds since 1970.

    Raises:
        CallerNotAuthenticated: The connection does not use TLS 1.3, or the certificate has expired, or it does not have
            exactly one URI name, or the name is not a SPIFFE id of at most 255 printable characters.
    """
    require_tls_version(auth_context)
    names, end = _read_certificate(b"".join(auth_context.get("x509_pem_cert", ())))
    if len(names) != 1 or not names[0].startswith("spiffe://") or not is_principal(names[0]):
        raise CallerNotAuthenticated(
            "the client certificate must have exactly one URI name (SAN), of the form spiffe://DOMAIN/PATH"
        )
    # The handshake checks this too, but a client can resume a TLS session for two days without a complete handshake.
    if now > end:
        raise CallerNotAuthenticated(
            "the client certificate has expired; open a new connection with a valid certificate"
        )
    return names[0]


@lru_cache(maxsize=_CERTIFICATES_MAX)
def _read_certificate(content: bytes) -> tuple[tuple[str, ...], float]:
    """Return the URI names (SAN) of a certificate, and the end of its validity in seconds since 1970.

    gRPC's own property `peer_uri` ends before a zero byte, so a longer name would be taken for the name before this byte.
    If the certificate is invalid, the function returns no names.

    Args:
        content: The certificate in PEM form.
    """
    try:
        certificate = x509.load_pem_x509_certificate(content)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        end = certificate.not_valid_after_utc.timestamp()
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return (), 0.0
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier)), end
