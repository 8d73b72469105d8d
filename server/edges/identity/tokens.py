"""Bearer tokens: signed JSON web tokens (JWT, RFC 7519) that identify the caller.

A token is accepted if one of the configured keys signed it with RS256, ES256 or EdDSA, and if its issuer, its audience
and its times are valid. The subject (`sub`) of the token is the principal.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import structlog

from server.edges.identity.callers import is_principal
from server.errors import CallerNotAuthenticated, TokenKeysRefused

LOG = structlog.get_logger()
_ALGORITHMS = ["RS256", "ES256", "EdDSA"]
_SIGNATURE_USES = (None, "sig")  # values of `use`, with which a key set distinguishes keys for signatures
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_LEEWAY_SECONDS = 10.0  # clocks of issuer and server may differ by this much
_TIME_MAX = 253_402_300_800  # the year 10000, in seconds since 1970
_REFRESH_SECONDS = 300.0
_RETRY_SECONDS = 5.0  # an unknown key id causes at most one early refresh in this time
_FETCH_SECONDS_MAX = 5.0
_ACCEPTED_MAX = 1000  # verified tokens that are remembered, because verifying a signature costs up to 0.1 ms
_REJECTED = "the bearer token is not valid"


class TokenKeys:
    """The public keys of the issuer, from a file or from an HTTPS address with a JSON web key set (RFC 7517)."""

    def __init__(self, location: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read the keys.

        Args:
            location: Path of a file, or an address that begins with https://.
            monotonic: A clock that never goes back, in seconds.

        Raises:
            TokenKeysRefused: The key set cannot be read.
        """
        self._location, self._monotonic = location, monotonic
        self._keys = self._read()
        self._read_time = monotonic()
        self._refresh: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> Any | None:
        """Return the key with this id; None if the newest key set has no such key.

        If the key set is old, it is read again in the background, and the present keys stay in use meanwhile. A call
        with an unknown key id waits for the new key set, because the issuer may have begun to use a new key.
        """
        age, is_known = self._monotonic() - self._read_time, key_id in self._keys
        if self._refresh is None and age >= (_REFRESH_SECONDS if is_known else _RETRY_SECONDS):
            self._refresh = asyncio.create_task(self._read_again())
        if self._refresh is not None and not is_known:
            # `wait` neither cancels the task nor raises its error. An issuer that sends its answer byte by byte can
            # delay the task, but not the call.
            await asyncio.wait([self._refresh], timeout=_FETCH_SECONDS_MAX)
        return self._keys.get(key_id)

    async def _read_again(self) -> None:
        """Read the keys again, in a thread. If that fails, the previous keys stay in use, and the failure is logged."""
        try:
            self._keys = await asyncio.to_thread(self._read)
        except TokenKeysRefused as error:
            LOG.error("token keys cannot be read; the previous keys stay in use", problem=str(error))
        finally:
            self._read_time = self._monotonic()
            self._refresh = None

    def _read(self) -> dict[str, Any]:
        """Read and parse the key set. Raises TokenKeysRefused if that fails."""
        try:
            if self._location.startswith("https://"):
                client = jwt.PyJWKClient(self._location, cache_keys=False, timeout=_FETCH_SECONDS_MAX)
                keys = client.get_jwk_set(refresh=True).keys
            else:
                keys = jwt.PyJWKSet.from_dict(json.loads(Path(self._location).read_text("utf-8"))).keys
        except (
            jwt.PyJWTError,
            OSError,
            ValueError,
            TypeError,
            AttributeError,
            RuntimeError,
        ) as error:  # PyJWT does not check the types, and JSON may be nested too deeply
            raise TokenKeysRefused(
                f"{self._location}: not a readable JSON web key set ({type(error).__name__}); check the setting `jwt_keys`"
            ) from error
        found = {str(key.key_id): key.key for key in keys if _is_usable(key)}
        if not found:
            raise TokenKeysRefused(
                f"{self._location}: the key set has no key for {', '.join(_ALGORITHMS)} with a key id (`kid`); check the"
                " setting `jwt_keys`"
            )
        return found


def _is_usable(key: jwt.PyJWK) -> bool:
    """Return whether a key of the key set can verify tokens: it has a key id and is meant for signatures."""
    return (
        isinstance(key.key_id, str)
        and key.key_id != ""
        and key.algorithm_name in _ALGORITHMS
        and key.public_key_use in _SIGNATURE_USES
    )


@dataclass(frozen=True, slots=True)
class _AcceptedToken:
    """A token that was verified earlier.

    Attributes:
        principal: The subject of the token.
        end: The expiry time of the token.
        key_id: The id of the key that signed the token.
        key: The key that signed the token. The token is verified again after the key set was read again.
    """

    principal: str
    end: float
    key_id: str
    key: Any


class TokenVerifier:
    """Verifies bearer tokens and returns their principals. It is used on the event loop."""

    def __init__(self, keys: TokenKeys, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        """Create a verifier.

        Args:
            keys: The public keys of the issuer.
            issuer: The required issuer (`iss`).
            audience: The required audience (`aud`), the name of this server.
            clock: Returns the present time, in seconds since 1970.
        """
        self._keys, self._issuer, self._audience, self._clock = keys, issuer, audience, clock
        self._accepted: OrderedDict[str, _AcceptedToken] = OrderedDict()

    async def principal(self, authorization: str) -> str:
        """Return the principal of a token.

        Args:
            authorization: Value of the metadata entry `authorization`: "Bearer " and the token.

        Raises:
            CallerNotAuthenticated: There is no token, or the token is not valid. The message does not say which rule
                the token breaks, because this would help an attacker. The application log contains the rule.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise CallerNotAuthenticated("the metadata entry authorization must be 'Bearer ' and a token")
        known = self._accepted.get(token)
        # The issuer may have withdrawn the key since the token was accepted.
        if known is not None and known.end > self._clock() and await self._keys.find(known.key_id) is known.key:
            return known.principal
        self._accepted.pop(token, None)
        accepted = self._accepted[token] = await self._verify(token)
        if len(self._accepted) > _ACCEPTED_MAX:
            self._accepted.popitem(last=False)
        return accepted.principal

    async def _verify(self, token: str) -> _AcceptedToken:
        """Verify a token; raise CallerNotAuthenticated if it is invalid."""
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            key = await self._keys.find(key_id)
            # If the key is unknown, the empty key makes every signature invalid. `algorithms` rejects a token with any
            # other algorithm, such as "none". `_check_claims` checks the times against `clock`.
            claims = jwt.decode(
                token,
                key or b"",
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            principal, end = self._check_claims(claims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            LOG.warning("bearer token rejected", rule=str(error) if type(error) is ValueError else type(error).__name__)
            raise CallerNotAuthenticated(f"{_REJECTED}; request a new token from its issuer") from error
        return _AcceptedToken(principal, end, key_id, key)

    def _check_claims(self, claims: dict[str, Any]) -> tuple[str, float]:
        """Return the principal and the expiry time of a token whose signature, issuer and audience are valid."""
        now, principal = self._clock(), claims["sub"]
        issued, end = claims["iat"], claims["exp"]
        first = claims.get("nbf", issued)
        if not all(_is_time(each) for each in (issued, first, end)):
            raise ValueError("a time is not a number of seconds since 1970")
        if now >= end + _LEEWAY_SECONDS:
            raise ValueError("expired")
        if now <= max(issued, first) - _LEEWAY_SECONDS:
            raise ValueError("not valid yet")
        if not isinstance(principal, str) or not is_principal(principal):
            raise ValueError("the subject is not a principal")
        return principal, float(end)


def _is_time(value: object) -> bool:
    """Return whether a claim is a time. NaN is not, because every comparison with NaN is false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _TIME_MAX
