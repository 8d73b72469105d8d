"""Reads the file of `--sign-in`: the provider that signs people in, and the address of the console."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from console.provider import ProviderSettings
from console.sign_in import CALLBACK_PATH

_REQUIRED = ("issuer", "client_id", "public_url")
_OPTIONAL = ("client_secret_file", "scope", "resource", "ca", "tls_certificate", "tls_key")


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
    """Read the file. Paths in it are relative to its folder.

    Raises:
        SignInFileInvalid: The file cannot be read, or an entry is missing, unknown or invalid.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SignInFileInvalid(f"{path}: cannot be read as TOML: {error}") from error
    _check(path, values)

    def file(name: str) -> Path | None:
        return path.parent / values[name] if name in values else None

    secret_file, public_url = file("client_secret_file"), values["public_url"].rstrip("/")
    try:
        secret = secret_file.read_text("utf-8").strip() if secret_file else ""
    except (OSError, ValueError) as error:
        raise SignInFileInvalid(f"{path}: client_secret_file: {secret_file} cannot be read") from error
    provider = ProviderSettings(
        issuer=values["issuer"],
        client_id=values["client_id"],
        client_secret=secret,
        scope=values.get("scope", "openid"),
        resource=values.get("resource", ""),
        redirect_uri=public_url + CALLBACK_PATH,
        ca=file("ca"),
    )
    return SignInFile(provider, urlsplit(public_url).hostname or "", file("tls_certificate"), file("tls_key"))


def _check(path: Path, values: dict[str, object]) -> None:
    """Raise SignInFileInvalid if an entry is missing, unknown or not usable."""
    problems = [f"{name}: is required" for name in _REQUIRED if name not in values]
    problems += [f"{name}: {problem}" for name, value in values.items() if (problem := _problem(name, value))]
    if ("tls_certificate" in values) != ("tls_key" in values):
        problems.append("tls_certificate: specify both tls_certificate and tls_key, or neither")
    if problems:
        raise SignInFileInvalid(f"{path}: {'; '.join(problems)}")


def _problem(name: str, value: object) -> str:
    """Return what is wrong with an entry; "" if nothing is."""
    if name not in (*_REQUIRED, *_OPTIONAL):
        return f"unknown; the entries are {', '.join((*_REQUIRED, *_OPTIONAL))}"
    if not isinstance(value, str) or not value:
        return "must be a text that is not empty"
    if name in {"issuer", "public_url"} and not value.startswith("https://"):
        return f"must begin with https://, got {value!r}"
    if name == "public_url" and urlsplit(value).path.strip("/"):
        return "must have no path, because the console serves all paths of its host name"
    return "must include openid" if name == "scope" and "openid" not in value.split() else ""
