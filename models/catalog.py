"""The folder in which all bundles are, and which of them serve.

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
    """One folder of the catalog.

    Attributes:
        name: The folder's name: the bundle_id, if it is whole.
        bundle: None where it is refused.
        refusal: Why it is refused; "" where it is not.
    """

    family: str
    name: str
    bundle: Bundle | None
    problem: str


def list_families(bundles: Path) -> list[str]:
    """Give the families that have a folder."""
    if not bundles.is_dir():
        return []
    return sorted(path.name for path in bundles.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_bundle_folders(bundles: Path, family: str) -> list[Path]:
    """Give the folders of all bundles of a family, whole or not."""
    return sorted(path for path in (bundles / family).iterdir() if path.is_dir() and not path.name.startswith("."))


def read_entry(folder: Path) -> CatalogEntry:
    """Read one bundle, or learn why it is refused."""
    try:
        return CatalogEntry(folder.parent.name, folder.name, read_bundle(folder), "")
    except BundleInvalid as error:
        return CatalogEntry(folder.parent.name, folder.name, None, str(error))


def read_active(bundles: Path, family: str) -> dict[str, str]:
    """Read which bundle serves which market.

    Raises:
        ActivationRejected: The file cannot be read as market = "bundle_id".
    """
    path = bundles / family / ACTIVE
    if not path.exists():
        return {}
    try:
        markets = tomllib.loads(path.read_text(encoding="utf-8")).get("markets", {})
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ActivationRejected(f"{family}/{ACTIVE}: {error}") from error
    if not isinstance(markets, dict) or not all(isinstance(name, str) for name in markets.values()):
        raise ActivationRejected(f'{family}/{ACTIVE}: [markets] takes lines such as TW = "<bundle_id>"')
    return markets


def write_active(bundles: Path, family: str, markets: Mapping[str, str]) -> None:
    """Replace what serves, in one step."""
    lines = ["# Which bundle serves which market. Edited by: python -m server activate", "[markets]"]
    lines += [f'{market} = "{bundle_id}"' for market, bundle_id in sorted(markets.items())]
    write_file(bundles / family / ACTIVE, "\n".join([*lines, ""]).encode())


def find_bundle(bundles: Path, name: str) -> Path:
    """Find a bundle by its id or an unambiguous beginning of it.

    Raises:
        ActivationRejected: There is none, or more than one.
    """
    if len(name) < _PREFIX_LENGTH_MIN:
        raise ActivationRejected(
            f"{name!r} is too short; give at least {_PREFIX_LENGTH_MIN} characters of the bundle_id"
        )
    found = [
        path
        for family in list_families(bundles)
        for path in list_bundle_folders(bundles, family)
        if path.name.startswith(name)
    ]
    if len(found) != 1:
        there = "no bundle" if not found else f"{len(found)} bundles"
        raise ActivationRejected(f"{there} below {bundles} begins with {name}")
    return found[0]


def activate(bundles: Path, name: str, markets: tuple[str, ...] = ()) -> tuple[Bundle, tuple[str, ...]]:
    """Make a bundle serve markets, after it has proved itself.

    Args:
        bundles: The catalog.
        name: bundle_id, or at least 8 characters of its beginning.
        markets: Where it is to serve; none given means all that it may serve.

    Returns:
        The bundle and the markets it now serves.

    Raises:
        ActivationRejected: No such bundle, or a market that it may not serve.
        BundleInvalid: It is not whole, or does not reproduce its golden rows.
    """
    folder = find_bundle(bundles, name)
    bundle = read_bundle(folder)
    open_model(bundle)
    chosen = markets or bundle.manifest.markets
    outside = sorted(set(chosen) - set(bundle.manifest.markets))
    if outside:
        raise ActivationRejected(f"the bundle may serve {', '.join(bundle.manifest.markets)}, not {', '.join(outside)}")
    family = folder.parent.name
    write_active(bundles, family, {**read_active(bundles, family), **dict.fromkeys(chosen, bundle.bundle_id)})
    return bundle, tuple(chosen)
