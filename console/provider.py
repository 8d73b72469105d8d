"""The OpenID Connect provider: its metadata and keys, and the requests of a sign-in (authorisation code flow with PKCE)."""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from console.connections import ProviderUnavailable, token_subject

_ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"]
_LEEWAY_SECONDS = 10
_TIMEOUT_SECONDS = 5.0
_VERIFIER_LENGTH = 64  # RFC 7636 allows 43 to 128
_DEFAULT_LIFETIME = 300  # of a token whose lifetime the provider does not state
_OUTAGES = {"server_error", "temporarily_unavailable", "slow_down"}  # errors that say nothing about the refresh token
_CLAIM_PROBLEMS = {
    "nonce": "it belongs to another sign-in (nonce)",
    "aud": "it was issued for another application (aud)",
    "iss": "another provider issued it (iss)",
    "exp": "it has expired (exp); check the clocks of the provider and of this machine",
    "azp": "it was issued to another application (azp)",
    "at_hash": "it does not belong to the access token (at_hash)",
}


class SignInRefused(Exception):
    """A person cannot be signed in; the message states why and what to do next."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How the console reaches its provider.

    Attributes:
        issuer: Address of the provider, as in its tokens.
        client_id: The name under which the console is registered.
        client_secret: The secret of a confidential client; "" for a public one, which PKCE alone protects.
        scope: The requested scopes, which include openid.
        resource: The audience that the access token must have, for providers that ask for it (RFC 8707); "" if none.
        redirect_uri: The registered address of the console to which the provider returns a browser.
        ca: PEM file with the certificates that sign the provider's certificate; None for those of the machine.
    """

    issuer: str
    client_id: str
    client_secret: str
    scope: str
    resource: str
    redirect_uri: str
    ca: Path | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a person.

    Attributes:
        access: The token that the console passes on to the server.
        refresh: The token that gets the next access token; "" if the provider issued none.
        end: When the access token expires, in seconds of the monotonic clock.
    """

    access: str
    refresh: str
    end: float

    @property
    def subject(self) -> str:
        """Return the person, as the server sees them."""
        return token_subject(self.access)


class Provider:
    """A provider of sign-ins. Threads may share it."""

    def __init__(self, settings: ProviderSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read the provider's metadata.

        Args:
            settings: How the console reaches the provider.
            monotonic: The clock in which the end of tokens is stated.

        Raises:
            SignInRefused: The metadata cannot be read or are invalid.
        """
        self._settings, self._monotonic = settings, monotonic
        self._trust = ssl.create_default_context(cafile=str(settings.ca) if settings.ca else None)
        self._lock = threading.Lock()
        self._metadata = self._read_metadata()
        self._keys = self._read_keys()

    def begin(self, state: str, nonce: str, verifier: str) -> str:
        """Return the address at which a person signs in."""
        extra = {"resource": self._settings.resource} if self._settings.resource else {}
        with self._client() as client:
            address, _ = client.create_authorization_url(
                self._metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier, **extra
            )
        return str(address)

    def finish(self, code: str, nonce: str, verifier: str) -> Tokens:
        """Exchange the code of a sign-in for tokens, and verify them.

        Raises:
            SignInRefused: The provider refuses the code, or a token is invalid.
        """
        begun = self._monotonic()
        try:
            with self._client() as client:
                answer = client.fetch_token(
                    self._metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                )
        except (AuthlibBaseError, httpx2.HTTPError, ValueError) as error:
            raise SignInRefused(f"The provider gave no tokens ({_error_text(error)}). Sign in again.") from error
        tokens = _tokens(answer, "", begun)
        self._verify_identity(str(answer.get("id_token") or ""), tokens, nonce)
        return tokens

    def refresh(self, tokens: Tokens) -> Tokens:
        """Return new tokens for those that are about to expire.

        Raises:
            SignInRefused: The provider refuses, issued no refresh token, or answers for another person.
            ProviderUnavailable: The provider gives no answer, or one that says nothing about the refresh token.
        """
        if not tokens.refresh:
            raise SignInRefused("Your sign-in has expired. Sign in again.")
        begun = self._monotonic()
        try:
            with self._client() as client:
                answer = client.refresh_token(self._metadata["token_endpoint"], refresh_token=tokens.refresh)
        except AuthlibBaseError as error:
            if error.error in _OUTAGES:
                raise ProviderUnavailable(_error_text(error)) from error
            raise SignInRefused(f"Your sign-in cannot be renewed ({_error_text(error)}). Sign in again.") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderUnavailable(_error_text(error)) from error
        if not answer.get("access_token"):
            raise ProviderUnavailable("an answer without an access token")
        renewed = _tokens(answer, tokens.refresh, begun)
        if renewed.subject != tokens.subject:
            raise SignInRefused("The provider renewed the sign-in of another person. Sign in again.")
        return renewed

    def end_session_address(self) -> str:
        """Return the address at which a person signs out at the provider; "" if the provider has none."""
        return str(self._metadata.get("end_session_endpoint", ""))

    def revoke(self, tokens: Tokens) -> None:
        """Ask the provider to revoke a refresh token. If that fails, the token ends by its own lifetime."""
        endpoint = self._metadata.get("revocation_endpoint")
        if endpoint and tokens.refresh:
            try:
                with self._client() as client:
                    client.revoke_token(endpoint, tokens.refresh, "refresh_token")
            except (AuthlibBaseError, httpx2.HTTPError, ValueError):
                return

    @property
    def issuer(self) -> str:
        """Return the address of the provider, as in its tokens."""
        return self._settings.issuer

    def _client(self) -> Any:
        """Return a client for one exchange with the provider."""
        secret = self._settings.client_secret
        return OAuth2Client(
            self._settings.client_id,
            secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=self._settings.scope,
            redirect_uri=self._settings.redirect_uri,
            code_challenge_method="S256",
            verify=self._trust,
            timeout=_TIMEOUT_SECONDS,
        )

    def _verify_identity(self, identity: str, tokens: Tokens, nonce: str) -> None:
        """Verify an id token, and that the access token is a signed token for the same person."""
        try:
            decoded = self._decode(identity)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                },
                params={"nonce": nonce, "client_id": self._settings.client_id, "access_token": tokens.access},
            )
            claims.validate(leeway=_LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            raise SignInRefused(f"The id token is not valid: {_claim_text(error)}. Sign in again.") from error
        if not tokens.subject:
            raise SignInRefused(
                "The provider's access token is not a signed token (JWT) with a subject, so the server cannot verify it. Ask "
                "the operator: the file of --sign-in may need scope or resource, so that the provider issues one for the server."
            )
        if tokens.subject != claims["sub"]:
            raise SignInRefused("The id token and the access token name different persons. Inform the operator.")

    def _decode(self, token: str) -> jwt.Token:
        """Return a token whose signature is valid. Read the keys again once, because the provider may have a new key."""
        try:
            return jwt.decode(token, self._keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            keys = self._read_keys()
        with self._lock:
            self._keys = keys
        return jwt.decode(token, keys, algorithms=_ALGORITHMS)

    def _read_metadata(self) -> Mapping[str, Any]:
        """Return the metadata of the provider (OpenID Connect Discovery)."""
        address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self._get(address)
        if found.get("issuer") != self._settings.issuer:
            raise SignInRefused(f"{address}: issuer must be {self._settings.issuer}, got {found.get('issuer')!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not str(found.get(name, "")).startswith("https://"):
                raise SignInRefused(f"{address}: {name} must be an address that begins with https://")
        return found

    def _read_keys(self) -> KeySet:
        """Return the keys that sign the provider's tokens."""
        address = str(self._metadata["jwks_uri"])
        content: Any = self._get(address)
        try:
            return KeySet.import_key_set(content)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise SignInRefused(f"{address}: not a JSON web key set ({type(error).__name__})") from error

    def _get(self, address: str) -> dict[str, Any]:
        """Return a JSON object of the provider."""
        try:
            answer = httpx2.get(address, verify=self._trust, timeout=_TIMEOUT_SECONDS)
            found = answer.raise_for_status().json()
        except (httpx2.HTTPError, ValueError) as error:
            raise SignInRefused(f"{address}: cannot be read ({_error_text(error)})") from error
        if not isinstance(found, dict):
            raise SignInRefused(f"{address}: must be a JSON object")
        return found


def new_verifier() -> str:
    """Return a random code verifier of PKCE."""
    return str(generate_token(_VERIFIER_LENGTH))


def _tokens(answer: Mapping[str, Any], refresh: str, begun: float) -> Tokens:
    """Return the tokens of an answer of the provider to a request that began then.

    Without a new refresh token, the given one stays in use.
    """
    lifetime = str(answer.get("expires_in"))  # a number; some providers send it as text
    seconds = int(lifetime) if lifetime.isascii() and lifetime.isdecimal() else _DEFAULT_LIFETIME
    return Tokens(
        access=str(answer.get("access_token") or ""),
        refresh=str(answer.get("refresh_token") or refresh),
        end=begun + seconds,
    )


def _error_text(error: Exception) -> str:
    """Return what failed, without addresses and data of the request."""
    return str(getattr(error, "error", "") or type(error).__name__)


def _claim_text(error: Exception) -> str:
    """Return which rule an id token breaks."""
    if type(error).__name__ == "ExpiredTokenError":
        return _CLAIM_PROBLEMS["exp"]
    claim = str(getattr(error, "claim", ""))
    return _CLAIM_PROBLEMS.get(claim, f"{type(error).__name__} {claim}".strip())
