"""Is everything still there that old decisions were made with? Without it they cannot be replayed."""

from collections.abc import Iterator

from sqlalchemy import func, select

from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.tables import POLICIES, RECORDS


def missing_artifacts(database: Database, shelf: BundleCache) -> Iterator[str]:
    """Say which bundles that decided, and which policy files that were kept, can no longer be read.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    counted = select(RECORDS.c.bundle_id, func.count()).where(RECORDS.c.kind == CREDIT_DECISION)
    with database.reading() as connection:
        decided = connection.execute(counted.group_by(RECORDS.c.bundle_id)).all()
        policies = connection.execute(select(POLICIES.c.sha256)).scalars().all()
    for bundle_id, count in decided:
        try:
            shelf.open_model(str(bundle_id))
        except (BundleUnknown, BundleNotReadable) as error:
            yield f"bundle {bundle_id} made {count:,} decisions, which cannot be replayed: {error}"
    for sha256 in policies:
        try:
            PolicyStore(database).find(sha256)
        except RecordDamaged as error:
            yield f"policy {sha256}: {error}"
