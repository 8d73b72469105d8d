"""The catalog: the folder of all bundles, and the activation of one bundle for each family and market.

<bundles>/<family>/<bundle_id>/     a bundle
<bundles>/<family>/ACTIVE.toml      which bundle serves which market; the commands `activate` and `deactivate` write it
"""

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.atomic_files import read_regular_file, write_file
from models.bundle import Bundle, read_bundle
from models.errors import ActivationRejected, BundleInvalid
from models.isolation.processes import check_bundle

ACTIVE = "ACTIVE.toml"
_MARKET_COUNT = "market_count"  # key of ACTIVE.toml, by which a half-written file is detected
PREFIX_LENGTH_MIN = 8  # shortest prefix, in characters, that a command accepts instead of a whole id
_ACTIVE_BYTES_MAX = 1_000_000
# Longest problem of an invalid bundle, in characters. Lists of all bundles contain it, and a crafted bundle may name
# thousands of files.
_PROBLEM_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One bundle folder of the catalog, valid or not.

    Attributes:
        family: Name of the parent folder.
        name: Name of the folder; the bundle_id if the bundle is valid.
        bundle: The bundle; None if the folder is not a valid bundle.
        problem: Why the bundle is invalid; "" if it is valid.
    """

    family: str
    name: str
    bundle: Bundle | None
    problem: str


def decline_companion_family(family: str) -> str:
    """Return the name of the companion family whose bundles predict whether a customer's spend declines."""
    return f"{family}_decline"


def list_families(bundles: Path) -> list[str]:
    """Return the names of the families that have a folder, sorted."""
    if not bundles.is_dir():
        return []
    return sorted(path.name for path in bundles.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_bundle_folders(bundles: Path, family: str) -> list[Path]:
    """Return the bundle folders of a family, valid or not, sorted by name."""
    return sorted(path for path in (bundles / family).iterdir() if path.is_dir() and not path.name.startswith("."))


def read_entry(folder: Path) -> CatalogEntry:
    """Read one bundle. If it is invalid, return an entry with the problem instead of raising an error.

    The bundle of the entry lacks the bytes of the graphs, because a catalog may have many bundles.
    """
    family, name = _folder_name(folder.parent), _folder_name(folder)
    try:
        bundle = replace(read_bundle(folder), score=b"", explain=b"")
    except BundleInvalid as error:
        return CatalogEntry(family, name, None, str(error)[:_PROBLEM_LENGTH_MAX])
    except Exception as error:  # noqa: BLE001 - a crafted bundle must not keep the server from reading the other bundles
        return CatalogEntry(family, name, None, f"cannot be read: {type(error).__name__}")
    return CatalogEntry(family, name, bundle, "")


def _folder_name(folder: Path) -> str:
    """Return the name of a folder. Bytes that are not UTF-8 become escapes, because an answer can only contain Unicode."""
    return os.fsencode(folder.name).decode("utf-8", "backslashreplace")


def read_activations(bundles: Path, family: str) -> dict[str, str]:
    """Read ACTIVE.toml: the bundle_id of each market, or "" for a market that was deactivated.

    Returns:
        The bundle_id by market; empty if there is no ACTIVE.toml.

    Raises:
        ActivationRejected: ACTIVE.toml cannot be read, is not TOML, has a [markets] that is not a table of strings, or
            is incomplete because it has a different number of markets than its `market_count` states.
    """
    path = bundles / family / ACTIVE
    if not path.exists():
        return {}
    try:
        document = tomllib.loads(read_regular_file(path.resolve(), _ACTIVE_BYTES_MAX).decode())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise ActivationRejected(f"{family}/{ACTIVE}: {error}") from error
    markets = document.get("markets", {})
    if not isinstance(markets, dict) or not all(isinstance(name, str) for name in markets.values()):
        raise ActivationRejected(f'{family}/{ACTIVE}: [markets] must have lines such as TW = "<bundle_id>"')
    # Files of earlier releases and files written by hand may lack the count.
    if (count := document.get(_MARKET_COUNT, len(markets))) != len(markets):
        raise ActivationRejected(
            f"{family}/{ACTIVE}: [markets] has {len(markets)} lines, but {_MARKET_COUNT} is {count}; "
            "the file is incomplete: run `activate` again, or correct the number"
        )
    return markets


def read_active(bundles: Path, family: str) -> dict[str, str]:
    """Read which bundle serves which market: bundle_id by market; empty if no bundle is active.

    Raises:
        ActivationRejected: See `read_activations`.
    """
    return {market: bundle_id for market, bundle_id in read_activations(bundles, family).items() if bundle_id}


def _write_active(bundles: Path, family: str, markets: Mapping[str, str]) -> None:
    """Write all activations of a family to ACTIVE.toml, atomically. The bundle_id of a deactivated market is ""."""
    lines = [
        "# Which bundle serves which market. Edited by: python -m server activate, python -m server deactivate",
        f"{_MARKET_COUNT} = {len(markets)}",
        "[markets]",
    ]
    lines += [f'{market} = "{bundle_id}"' for market, bundle_id in sorted(markets.items())]
    write_file(bundles / family / ACTIVE, "\n".join([*lines, ""]).encode())


def match_prefix(prefix: str, ids: Iterable[str]) -> list[str]:
    """Return the ids that begin with a prefix; none if the prefix is shorter than PREFIX_LENGTH_MIN."""
    return [each for each in ids if each.startswith(prefix)] if len(prefix) >= PREFIX_LENGTH_MIN else []


def find_bundle(bundles: Path, name: str) -> Path:
    """Return the folder of the bundle with this bundle_id, or with this unambiguous prefix of 8 or more characters.

    Raises:
        ActivationRejected: The prefix is too short, or matches no bundle or several.
    """
    if len(name) < PREFIX_LENGTH_MIN:
        raise ActivationRejected(
            f"{name!r}: too short; specify at least {PREFIX_LENGTH_MIN} characters of the bundle_id"
        )
    folders = [path for family in list_families(bundles) for path in list_bundle_folders(bundles, family)]
    found = [path for path in folders if match_prefix(name, [path.name])]
    if len(found) != 1:
        count = f"{len(found)} bundles" if found else "no bundle"
        advice = "specify more characters" if found else "check the bundle_id"
        raise ActivationRejected(f"{name}: matches {count} in {bundles}; {advice}")
    return found[0]


def check_activation(bundles: Path, name: str, markets: tuple[str, ...] = ()) -> tuple[Bundle, tuple[str, ...]]:
    """Check in a separate process that a bundle reproduces its golden rows, and that it may serve the markets.

    Args:
        bundles: The catalog.
        name: The bundle_id, or an unambiguous prefix of at least 8 characters.
        markets: The markets to activate it for; empty means all markets of its manifest.

    Returns:
        The bundle, and the markets for which it can be activated.

    Raises:
        ActivationRejected: No bundle has this name, or its manifest does not list one of the markets.
        BundleInvalid: The bundle is invalid, does not reproduce its golden rows, or exceeds a limit of the process.
    """
    bundle = read_bundle(find_bundle(bundles, name))
    check_bundle(bundle)
    chosen = tuple(dict.fromkeys(markets or bundle.manifest.markets))  # without duplicates
    outside = sorted(set(chosen) - set(bundle.manifest.markets))
    if outside:
        raise ActivationRejected(
            f"the bundle may serve {', '.join(bundle.manifest.markets)}, not {', '.join(outside)}; choose from its markets"
        )
    return bundle, chosen


def select_bundles(bundles: Path, family: str, markets: Mapping[str, str]) -> None:
    """Write to ACTIVE.toml which bundles serve some markets. The lines of all other markets stay.

    Args:
        bundles: The catalog.
        family: The model family.
        markets: The bundle_id by market. A deactivated market has the bundle_id "".
    """
    _write_active(bundles, family, {**read_activations(bundles, family), **markets})


def activate(bundles: Path, name: str, markets: tuple[str, ...] = ()) -> tuple[Bundle, tuple[str, ...]]:
    """Check a bundle and write to ACTIVE.toml that it serves markets; see `check_activation`.

    Nothing is recorded here. A server that finds the change in ACTIVE.toml records it before the bundle serves.
    """
    bundle, chosen = check_activation(bundles, name, markets)
    select_bundles(bundles, bundle.manifest.family, dict.fromkeys(chosen, bundle.bundle_id))
    return bundle, chosen


def check_deactivation(bundles: Path, family: str, markets: tuple[str, ...], recorded: Collection[str] = ()) -> None:
    """Check that a bundle of the family is active for each market.

    Args:
        bundles: The catalog.
        family: The model family.
        markets: The markets to stop.
        recorded: The markets that the family serves according to the record log. They count as active even if
            ACTIVE.toml selects no bundle for them.

    Raises:
        ActivationRejected: No bundle of the family is active for one of the markets.
    """
    served = {*read_active(bundles, family), *recorded}
    unknown = sorted(set(markets) - served)
    if unknown:
        active = ", ".join(sorted(served)) or "none"
        raise ActivationRejected(f"no {family} bundle is active for {', '.join(unknown)}; active markets: {active}")


def deactivate(bundles: Path, family: str, markets: tuple[str, ...]) -> None:
    """Stop serving markets; see `check_deactivation`.

    ACTIVE.toml keeps a line for each deactivated market, so that a missing line never means a deactivation.
    """
    check_deactivation(bundles, family, markets)
    select_bundles(bundles, family, dict.fromkeys(markets, ""))
