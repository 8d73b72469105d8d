"""The authority file: which principal has which roles, in which markets, and with which limits for overrides.

    [[callers]]
    principal = "spiffe://example.com/loan-desk-de"
    roles = ["loan_desk"]
    markets = ["DE", "AT"]

    [callers.override_limits.CREDIT_MANAGER]
    EUR = "50000"

    # End of the authority file.

A principal without an entry may call no method. The file is read at the start of the server.
"""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from models.field_problems import field_path, field_problems
from server.decisions.end_mark import end_mark_problem
from server.edges.identity.callers import ALL_ROLES, Caller, is_principal
from server.errors import AuthorityRefused

_EVERY_MARKET = "*"
_END_MARK = "# End of the authority file."  # the last line of every authority file
_Role = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
_Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
_Market = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|\*)$")]
_Limit = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=9)]


class _CallerEntry(BaseModel):
    """One [[callers]] table of the file: a principal with its permissions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    principal: str
    roles: tuple[str, ...] = Field(min_length=1)
    markets: tuple[_Market, ...] = Field(min_length=1)
    override_limits: Mapping[_Role, Mapping[_Currency, _Limit]] | None = None

    @field_validator("roles")
    @classmethod
    def _check_roles(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        """Reject a role that does not exist."""
        unknown = sorted(set(roles) - ALL_ROLES)
        if unknown:
            raise ValueError(f"unknown roles: {', '.join(unknown)}; the roles are {', '.join(sorted(ALL_ROLES))}")
        return roles

    @field_validator("principal")
    @classmethod
    def _check_principal(cls, principal: str) -> str:
        """Reject a text that cannot be the name of a caller."""
        if not is_principal(principal):
            raise ValueError(
                "must be 1 to 128 letters, digits and . _ : / + - and begin with a letter or a digit, because records contain "
                "it (an e-mail address is personal data); and not 'local', 'anyone' or 'server'"
            )
        return principal

    def caller(self) -> Caller:
        """Return the caller of this entry."""
        limits = self.override_limits
        return Caller(
            name=self.principal,
            roles=frozenset(self.roles),
            markets=None if _EVERY_MARKET in self.markets else frozenset(self.markets),
            override_limits=None
            if limits is None
            else {(role, currency): limit for role, each in limits.items() for currency, limit in each.items()},
        )


class _AuthorityFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    callers: tuple[_CallerEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_principals(self) -> "_AuthorityFile":
        """Reject two entries of the same principal."""
        names = [entry.principal for entry in self.callers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"more than one entry for {', '.join(repeated)}; write one entry for each principal")
        return self


class AuthorityTable:
    """The callers of an authority file, by principal."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = dict(callers)

    def find(self, principal: str) -> Caller:
        """Return the caller with its rights. A principal without an entry has no roles and no markets."""
        return self._callers.get(principal) or Caller(principal)


def read_authority(path: Path) -> AuthorityTable:
    """Read an authority file.

    Raises:
        AuthorityRefused: The file is missing, unreadable, incomplete or invalid. The message lists every problem.
    """
    try:
        content = path.read_bytes()
        file = _AuthorityFile.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise AuthorityRefused(f"{path}: cannot be read ({error.strerror}); check the setting `authority`") from error
    except ValidationError as error:
        problems = [f"  {field_path(name)}: {problem}" for name, problem in field_problems(error)]
        raise AuthorityRefused("\n".join([f"{path}:", *problems])) from error
    except (ValueError, RecursionError) as error:  # the file is not UTF-8, not TOML, or nested too deeply
        raise AuthorityRefused(f"{path}: {error}") from error
    # Without its last lines, an entry may have no limits of overrides.
    if problem := end_mark_problem(content, _END_MARK):
        raise AuthorityRefused(f"{path}: {problem}")
    return AuthorityTable({entry.principal: entry.caller() for entry in file.callers})
