"""Identification: finds the caller of a call by its certificate or token.

Without an authority file, every caller is the local caller.
"""

import time
from typing import Protocol

from server.config import Settings
from server.edges.context import Context
from server.edges.identity.authority import AuthorityTable, read_authority
from server.edges.identity.callers import LOCAL_CALLER, Caller
from server.edges.identity.tls import CertificateFiles, TlsFiles, certificate_principal, require_tls_version
from server.edges.identity.tokens import TokenKeys, TokenVerifier
from server.errors import CallerNotAuthenticated

_AUTHORIZATION_KEY = "authorization"


class Identification(Protocol):
    """Finds the caller of a call."""

    async def caller(self, context: Context) -> Caller:
        """Return the caller of a call.

        Raises:
            CallerNotAuthenticated: The caller has not proved who it is.
        """


class LocalIdentification:
    """Identifies nobody: every caller is the local caller, who has all roles."""

    async def caller(self, context: Context) -> Caller:
        """Return the local caller."""
        del context
        return LOCAL_CALLER


class _CertificateIdentification:
    """Identifies callers by the SPIFFE id of their client certificate."""

    def __init__(self, authority: AuthorityTable) -> None:
        self._authority = authority

    async def caller(self, context: Context) -> Caller:
        """Return the caller whom the client certificate names."""
        return self._authority.find(certificate_principal(context.auth_context(), time.time()))


class _TokenIdentification:
    """Identifies callers by the bearer token of each call."""

    def __init__(self, authority: AuthorityTable, verifier: TokenVerifier, *, requires_tls: bool) -> None:
        self._authority, self._verifier, self._requires_tls = authority, verifier, requires_tls

    async def caller(self, context: Context) -> Caller:
        """Return the caller whom the bearer token names."""
        if self._requires_tls:
            require_tls_version(context.auth_context())
        values = [value for key, value in context.invocation_metadata() or () if key == _AUTHORIZATION_KEY]
        if len(values) != 1:
            raise CallerNotAuthenticated("the call must have one metadata entry authorization with a bearer token")
        return self._authority.find(await self._verifier.principal(str(values[0])))


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """Read the TLS files; None if the server does not use TLS.

    Raises:
        TlsRefused: A file is missing or invalid.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return CertificateFiles(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def identification(settings: Settings) -> Identification:
    """Return the identification that the settings require.

    Raises:
        AuthorityRefused, TokenKeysRefused: The authority file or the key set is missing or invalid.
    """
    if settings.authority is None:
        return LocalIdentification()
    authority = read_authority(settings.authority)
    if settings.jwt_keys is not None:
        verifier = TokenVerifier(TokenKeys(settings.jwt_keys), settings.jwt_issuer, settings.jwt_audience)
        return _TokenIdentification(authority, verifier, requires_tls=settings.tls_certificate is not None)
    return _CertificateIdentification(authority)
