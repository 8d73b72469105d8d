"""A principal may do exactly what its entry in the authority file states."""

from decimal import Decimal
from pathlib import Path

import pytest

from server.edges.identity.authority import read_authority
from server.edges.identity.callers import Caller
from server.errors import AuthorityRefused, MarketNotAllowed
from tests.server.edges.identity.certificates import AUTHORITY, CRM, LOAN_DESK


def write(folder: Path, text: str) -> Path:
    """Write an authority file; return its path."""
    path = folder / "authority.toml"
    path.write_text(text)
    return path


def test_a_principal_has_the_rights_of_its_entry(tmp_path: Path) -> None:
    table = read_authority(write(tmp_path, AUTHORITY))
    assert table.find(LOAN_DESK) == Caller(
        LOAN_DESK, frozenset({"loan_desk"}), frozenset({"DE"}), {("CREDIT_MANAGER", "EUR"): Decimal(5000)}
    )
    assert table.find(CRM) == Caller(CRM, frozenset({"crm"}), None)


@pytest.mark.parametrize("principal", ["local", "spiffe://example.com/other", f"{LOAN_DESK}/", ""])
def test_a_principal_without_an_entry_has_no_rights(tmp_path: Path, principal: str) -> None:
    caller = read_authority(write(tmp_path, AUTHORITY)).find(principal)
    assert (caller.roles, caller.markets) == (frozenset(), frozenset())


def test_a_caller_may_ask_only_about_its_markets() -> None:
    caller = Caller("desk", frozenset({"loan_desk"}), frozenset({"DE"}))
    caller.require_market("DE")
    for market in ("FR", "", "de"):
        with pytest.raises(MarketNotAllowed):
            caller.require_market(market)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "callers: missing"),
        ("callers = []", "callers: "),
        ("[[callers]]\nprincipal = 'a'\nmarkets = ['DE']", "callers.0.roles: missing"),
        ("[[callers]]\nprincipal = 'a'\nroles = []\nmarkets = ['DE']", "callers.0.roles: "),
        (
            "[[callers]]\nprincipal = 'a'\nroles = ['admin']\nmarkets = ['DE']",
            "unknown roles: admin; the roles are auditor",
        ),
        ("[[callers]]\nprincipal = 'a'\nroles = ['crm']", "callers.0.markets: missing"),
        ("[[callers]]\nprincipal = 'a'\nroles = ['crm']\nmarkets = []", "callers.0.markets: "),
        ("[[callers]]\nprincipal = 'a'\nroles = ['crm']\nmarkets = ['Germany']", "two uppercase letters"),
        ("[[callers]]\nprincipal = ''\nroles = ['crm']\nmarkets = ['*']", "callers.0.principal: must be 1 to 128"),
        ("[[callers]]\nprincipal = 'local'\nroles = ['crm']\nmarkets = ['*']", "callers.0.principal: must be"),
        ("[[callers]]\nprincipal = 'server'\nroles = ['crm']\nmarkets = ['*']", "callers.0.principal: must be"),
        ("[[callers]]\nprincipal = 'a b'\nroles = ['crm']\nmarkets = ['*']", "callers.0.principal: must be"),
        (
            "[[callers]]\nprincipal = 'a'\nroles = ['crm']\nmarkets = ['*']\nadmin = true",
            "callers.0.admin: unknown name",
        ),
        (2 * "[[callers]]\nprincipal = 'a'\nroles = ['crm']\nmarkets = ['*']\n", "more than one entry for a"),
        ("[[callers]\n", "authority.toml: "),
    ],
)
def test_an_invalid_file_is_refused_with_the_field(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(AuthorityRefused) as caught:
        read_authority(write(tmp_path, text))
    assert field in str(caught.value)


def test_every_problem_of_a_file_is_named(tmp_path: Path) -> None:
    text = "[[callers]]\nroles = ['admin']\nmarkets = ['x']\n[[callers]]\nprincipal = 'a'\nroles = ['crm']"
    with pytest.raises(AuthorityRefused) as caught:
        read_authority(write(tmp_path, text))
    for field in ("callers.0.principal", "callers.0.roles", "callers.0.markets.0", "callers.1.markets"):
        assert field in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthorityRefused, match="cannot be read"):
        read_authority(tmp_path / "absent.toml")


def test_a_file_that_was_written_only_in_part_grants_nothing(tmp_path: Path) -> None:
    """A part of the file that lacks the limits of an entry would allow overrides of any amount."""
    complete = AUTHORITY.rstrip()
    for length in range(len(complete)):
        with pytest.raises(AuthorityRefused):
            read_authority(write(tmp_path, complete[:length]))

    assert read_authority(write(tmp_path, complete)).find(LOAN_DESK).override_limits
