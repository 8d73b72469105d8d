"""Checks the bundles of all recorded decisions, all stored policy files, and which bundles are active.

A decision can be replayed only if its bundle can be opened and its policy file is intact.
"""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from models.catalog import ACTIVE, list_families, read_activations, read_entry
from models.errors import ActivationRejected
from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.record_log.activations import read_history
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.tables import POLICIES, RECORDS

_CREDIT_FAMILY = "credit"


def missing_artifacts(database: Database, bundles: BundleCache) -> Iterator[str]:
    """Yield one sentence for each missing or invalid bundle that made decisions, and for each damaged policy file.

    Args:
        database: The database with the records and the policy files.
        bundles: The cache that opens bundles of the credit family.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    counts = select(RECORDS.c.bundle_id, func.count()).where(RECORDS.c.kind == CREDIT_DECISION)
    with database.reading() as connection:
        decisions = connection.execute(counts.group_by(RECORDS.c.bundle_id)).all()
        policies = connection.execute(select(POLICIES.c.sha256)).scalars().all()
    for bundle_id, count in decisions:
        try:
            bundles.open_model(str(bundle_id))
        except (BundleUnknown, BundleNotReadable) as error:
            yield f"bundle {bundle_id} made {count:,} decisions, which cannot be replayed: {error}"
    for sha256 in policies:
        try:
            PolicyStore(database).find(sha256)
        except RecordDamaged as error:
            yield f"policy {sha256}: {error}"


def activation_problems(database: Database, bundles: Path) -> Iterator[str]:
    """Yield one sentence for each ACTIVE.toml that is invalid, empty or different from the record log, and each bad bundle.

    An active bundle is bad if it is missing or invalid.

    A running server keeps its models in these cases, but would lose them when it is started again.

    Args:
        database: The database with the decisions. If there are any, the credit family must have an ACTIVE.toml.
        bundles: The catalog.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    with database.reading() as connection:
        history = read_history(connection)
        decision = select(RECORDS.c.record_index).where(RECORDS.c.kind == CREDIT_DECISION).limit(1)
        has_decisions = connection.execute(decision).first() is not None
    for family in list_families(bundles):
        try:
            activations = read_activations(bundles, family)
        except ActivationRejected as error:
            yield str(error)
            continue
        is_needed = (bundles / family / ACTIVE).exists() or (has_decisions and family == _CREDIT_FAMILY)
        if not activations and is_needed:
            yield f"{family}/{ACTIVE}: states no bundle for any market; restore the file, or run: python -m server activate"
        for market, bundle_id in activations.items():
            folder = bundles / family / bundle_id
            if bundle_id and not folder.is_dir():
                yield f"{family}/{ACTIVE}: bundle {bundle_id} of market {market} is not in the catalog; restore its folder"
            elif bundle_id and (problem := read_entry(folder).problem):
                yield f"{family}/{ACTIVE}: bundle {bundle_id} of market {market} is invalid: {problem}"
            recorded = history.serving.get((family, market))
            if recorded is not None and recorded.bundle_id != bundle_id:
                yield (
                    f"{family}/{ACTIVE}: the record log states that {_bundle_text(recorded.bundle_id)} serves {market}, but the file "
                    f"selects {_bundle_text(bundle_id)}; the next server that reads the file records the change without an operator: "
                    "to prevent this, run: python -m server activate"
                )


def _bundle_text(bundle_id: str) -> str:
    """Return a bundle as text."""
    return f"bundle {bundle_id[:12]}" if bundle_id else "no bundle"
