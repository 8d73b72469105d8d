"""Checks the bundles of all recorded decisions, and all stored policy files.

A decision can be replayed only if its bundle can be opened and its policy file is intact.
"""

from collections.abc import Iterator

from sqlalchemy import func, select

from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.tables import POLICIES, RECORDS


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
