"""Reads the file of `--sign-in`: the provider that signs people in, and the address of the console."""

import ssl
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from console.provider import ProviderSettings
from console.sign_in import CALLBACK_PATH

_REQUIRED = ("issuer", "client_id", "public_url")
_OPTIONAL = ("client_secret_file", "scope", "resource", "ca", "tls_certificate", "tls_key")

_FILES = ("client_secret_file", "ca", "tls_certificate", "tls_key")


class SignInFileInvalid(Exception):
    """The file cannot be used; the message states every problem."""


@dataclass(frozen=True, slots=True)
class SignInFile:
    """The content of the file.

    Attributes:
        provider: How the console reaches the provider.
        host: The host name by which browsers reach the console.
        tls_certificate: PEM file with the certificate of the console itself; None if a proxy in front ends TLS.
        tls_key: PEM file with the key of the certificate.
    """

    provider: ProviderSettings
    host: str
    tls_certificate: Path | None
    tls_key: Path | None


def read_sign_in_file(path: Path) -> SignInFile:
    """Read the file, and check the files that it names. Paths in it are relative to its folder.

    Raises:
        SignInFileInvalid: The file cannot be read, or an entry is missing, unknown or invalid.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SignInFileInvalid(f"{path}: cannot be read as TOML: {error}") from error
    problems = [f"{name}: is required" for name in _REQUIRED if name not in values]
    problems += [f"{name}: {problem}" for name, value in values.items() if (problem := _problem(name, value))]
    files = {
        name: path.parent / value
        for name, value in values.items()
        if name in _FILES and value and isinstance(value, str)
    }
    problems += _file_problems(files)
    if problems:
        raise SignInFileInvalid(f"{path}: {'; '.join(problems)}")
    public_url = values["public_url"].rstrip("/")
    provider = ProviderSettings(
        issuer=values["issuer"],
        client_id=values["client_id"],
        client_secret=_read_secret(files["client_secret_file"]) if "client_secret_file" in files else "",
        scope=values.get("scope", "openid"),
        resource=values.get("resource", ""),
        redirect_uri=public_url + CALLBACK_PATH,
        ca=files.get("ca"),
    )
    host = urlsplit(public_url).hostname or ""
    return SignInFile(
        provider, f"[{host}]" if ":" in host else host, files.get("tls_certificate"), files.get("tls_key")
    )


def _problem(name: str, value: object) -> str:
    """Return what is wrong with an entry, without the files that it names; "" if nothing is."""
    if name not in (*_REQUIRED, *_OPTIONAL):
        return f"unknown; the entries are {', '.join((*_REQUIRED, *_OPTIONAL))}"
    if not isinstance(value, str) or not value:
        return "must be a text that is not empty"
    if name == "issuer":
        return _address_problem(value)
    if name == "public_url":
        has_path = "" if _address_problem(value) else urlsplit(value).path.strip("/")
        return _address_problem(value) or (
            "must have no path, because the console serves all paths of its host name" if has_path else ""
        )
    return "must include openid" if name == "scope" and "openid" not in value.split() else ""


def _address_problem(text: str) -> str:
    """Return what is wrong with an https address; "" if nothing is."""
    if not text.startswith("https://"):
        return f"must begin with https://, got {text!r}"
    try:
        parts = urlsplit(text)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are not valid
        is_complete = False
    if not is_complete or not text.isascii() or not text.isprintable() or " " in text:
        return f"must be an address such as https://grounds.example.com, got {text!r}"
    if "@" in parts.netloc or "?" in text or "#" in text:
        return f"must have no user name, no query (?) and no fragment (#), got {text!r}"
    return ""


def _file_problems(files: Mapping[str, Path]) -> Iterator[str]:
    """Yield what is wrong with the files that the entries name."""
    if "client_secret_file" in files:
        try:
            if not _read_secret(files["client_secret_file"]):
                yield f"client_secret_file: {files['client_secret_file']} is empty"
        except (OSError, ValueError):
            yield f"client_secret_file: {files['client_secret_file']} cannot be read"
    if "ca" in files:
        try:
            ssl.create_default_context(cafile=str(files["ca"]))
        except OSError as error:  # an ssl.SSLError too
            yield f"ca: {files['ca']} cannot be read as PEM certificates ({_reason(error)})"
    certificate, key = files.get("tls_certificate"), files.get("tls_key")
    if certificate and key:
        yield from _tls_problems(certificate, key)
    elif certificate or key:
        yield "tls_certificate: specify both tls_certificate and tls_key, or neither"


def _tls_problems(certificate: Path, key: Path) -> Iterator[str]:
    """Yield what is wrong with the certificate and the key of the console itself."""
    try:
        # With a passphrase given, a key that needs another one is refused; otherwise OpenSSL asks at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except OSError as error:
        yield (
            f"tls_certificate: {certificate} and tls_key {key} cannot be read as a PEM certificate and its key, without a "
            f"passphrase ({_reason(error)})"
        )


def _read_secret(path: Path) -> str:
    """Return the client secret in a file."""
    return path.read_text("utf-8").strip()


def _reason(error: OSError) -> str:
    """Return why a file cannot be used."""
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)
