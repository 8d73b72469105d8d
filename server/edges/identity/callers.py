"""Callers: the principal of a call, its roles, and the markets whose customers it may ask about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from grounds_record.header import is_header_code
from server.errors import MarketNotAllowed

# The role of a caller that is not identified, which may only call methods such as health checks.
ANYONE = "anyone"
LOAN_DESK, CRM, CRM_EXPORT, OPERATOR, AUDITOR = "loan_desk", "crm", "crm_export", "operator", "auditor"
ALL_ROLES = frozenset({LOAN_DESK, CRM, CRM_EXPORT, OPERATOR, AUDITOR})
_LOCAL_NAME = "local"
# Names that records and counters use for callers that are not principals. "server" is the caller in the records that
# the server itself appends.
_RESERVED_NAMES = frozenset({_LOCAL_NAME, ANYONE, "server"})


def is_principal(name: str) -> bool:
    """Return whether a text can be the name of a caller, which records contain in their headers.

    The names "local", "anyone" and "server" are reserved.
    """
    return is_header_code(name) and name not in _RESERVED_NAMES


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller and its permissions.

    Attributes:
        name: The principal, such as spiffe://example.com/loan-desk. Records contain this name.
        roles: The roles of the caller; a caller without roles may call no method.
        markets: The markets whose customers the caller may ask about; None means every market.
        override_limits: The largest amount that a person of this caller may grant by an override, by user role and
            currency code. None means that the limit in the request applies.
    """

    name: str
    roles: frozenset[str] = frozenset()
    markets: frozenset[str] | None = frozenset()
    override_limits: Mapping[tuple[str, str], Decimal] | None = field(default=None, hash=False)

    def may_see(self, market: str) -> bool:
        """Return whether the caller may ask about customers of a market; "" stands for a request about every market."""
        return self.markets is None or market in self.markets

    def require_market(self, market: str) -> None:
        """Check that the caller may ask about customers of a market.

        Raises:
            MarketNotAllowed: The caller may not ask about this market. The error does not depend on whether a customer
                exists.
        """
        if not self.may_see(market):
            problem = f"about customers of market {market}" if market else "without a market; state one market"
            raise MarketNotAllowed(f"permission denied: this caller may not ask {problem}", market=market)


# The caller of a server that listens on loopback and identifies nobody.
LOCAL_CALLER = Caller(_LOCAL_NAME, ALL_ROLES | {ANYONE}, markets=None)
# The caller of a method that needs no identification.
ANYONE_CALLER = Caller(ANYONE, frozenset({ANYONE}))
# The caller of a call that has not proved, or not yet proved, who it is. It may call nothing.
UNIDENTIFIED_CALLER = Caller("")
