"""The catalog: the folder of all bundles, and the activation of one bundle for each family and market.

<bundles>/<family>/<bundle_id>/     a bundle
<bundles>/<family>/ACTIVE.toml      which bundle serves which market; written by `python -m server activate`
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.atomic_files import write_file
from models.bundle import Bundle, read_bundle
from models.errors import ActivationRejected, BundleInvalid
from models.model import open_model

ACTIVE = "ACTIVE.toml"
_PREFIX_LENGTH_MIN = 8


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
    """Read one bundle. If it is invalid, return an entry with the problem instead of raising an error."""
    try:
        return CatalogEntry(folder.parent.name, folder.name, read_bundle(folder), "")
    except BundleInvalid as error:
        return CatalogEntry(folder.parent.name, folder.name, None, str(error))


def read_active(bundles: Path, family: str) -> dict[str, str]:
    """Read which bundle serves which market: bundle_id by market; empty if no bundle was activated.

    Raises:
        ActivationRejected: ACTIVE.toml cannot be read, is not TOML, or its [markets] is not a table of strings.
    """
    path = bundles / family / ACTIVE
    if not path.exists():
        return {}
    try:
        markets = tomllib.loads(path.read_text(encoding="utf-8")).get("markets", {})
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ActivationRejected(f"{family}/{ACTIVE}: {error}") from error
    if not isinstance(markets, dict) or not all(isinstance(name, str) for name in markets.values()):
        raise ActivationRejected(f'{family}/{ACTIVE}: [markets] must have lines such as TW = "<bundle_id>"')
    return markets


def _write_active(bundles: Path, family: str, markets: Mapping[str, str]) -> None:
    """Write ACTIVE.toml atomically, replacing all activations of the family."""
    lines = ["# Which bundle serves which market. Edited by: python -m server activate", "[markets]"]
    lines += [f'{market} = "{bundle_id}"' for market, bundle_id in sorted(markets.items())]
    write_file(bundles / family / ACTIVE, "\n".join([*lines, ""]).encode())


def find_bundle(bundles: Path, name: str) -> Path:
    """Return the folder of the bundle with this bundle_id, or with this unambiguous prefix of 8 or more characters.

    Raises:
        ActivationRejected: The prefix is too short, or matches no bundle or several.
    """
    if len(name) < _PREFIX_LENGTH_MIN:
        raise ActivationRejected(
            f"{name!r}: too short; specify at least {_PREFIX_LENGTH_MIN} characters of the bundle_id"
        )
    found = [
        path
        for family in list_families(bundles)
        for path in list_bundle_folders(bundles, family)
        if path.name.startswith(name)
    ]
    if len(found) != 1:
        count = f"{len(found)} bundles" if found else "no bundle"
        advice = "specify more characters" if found else "check the bundle_id"
        raise ActivationRejected(f"{name}: matches {count} in {bundles}; {advice}")
    return found[0]


def activate(bundles: Path, name: str, markets: tuple[str, ...] = ()) -> tuple[Bundle, tuple[str, ...]]:
    """Activate a bundle for markets, after checking that it reproduces its golden rows.

    Args:
        bundles: The catalog.
        name: The bundle_id, or an unambiguous prefix of at least 8 characters.
        markets: The markets to activate it for; empty means all markets of its manifest.

    Returns:
        The bundle, and the markets for which it was activated.

    Raises:
        ActivationRejected: No bundle has this name, or its manifest does not list one of the markets.
        BundleInvalid: The bundle is invalid, or does not reproduce its golden rows.
    """
    folder = find_bundle(bundles, name)
    bundle = read_bundle(folder)
    open_model(bundle)  # raises BundleInvalid if a golden row is not reproduced
    chosen = markets or bundle.manifest.markets
    outside = sorted(set(chosen) - set(bundle.manifest.markets))
    if outside:
        raise ActivationRejected(
            f"the bundle may serve {', '.join(bundle.manifest.markets)}, not {', '.join(outside)}; choose from its markets"
        )
    family = folder.parent.name
    _write_active(bundles, family, {**read_active(bundles, family), **dict.fromkeys(chosen, bundle.bundle_id)})
    return bundle, tuple(chosen)
