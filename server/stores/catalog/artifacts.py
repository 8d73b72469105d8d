"""Checks the bundles of all recorded decisions, all stored policy files, and which bundles are active.

A decision can be replayed only if its bundle can be opened and its policy file is intact.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import func, select

from grounds_record.activations import ActivationHistory
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


def activation_problems(database: Database, bundles: Path, *, four_eyes: bool = False) -> Iterator[str]:
    """Yield one sentence for each ACTIVE.toml that is invalid, empty or different from the record log, and each bad bundle.

    An active bundle is bad if it is missing or invalid.

    A running server keeps its models in these cases, but would lose them when it is started again.

    Args:
        database: The database with the decisions. If there are any, the credit family must have an ACTIVE.toml.
        bundles: The catalog.
        four_eyes: Whether a change of a bundle needs the approval of a second person.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    with database.reading() as connection:
        history = read_history(connection)
        decision = select(RECORDS.c.record_index).where(RECORDS.c.kind == CREDIT_DECISION).limit(1)
        has_decisions = connection.execute(decision).first() is not None
    for family in sorted({*list_families(bundles), *(family for family, _ in history.serving)}):
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
        yield from _differences(history, family, activations, four_eyes=four_eyes)


def _differences(
    history: ActivationHistory, family: str, activations: Mapping[str, str], *, four_eyes: bool
) -> Iterator[str]:
    """Yield one sentence for each market whose bundle in ACTIVE.toml and in the log differs, with the consequence."""
    recorded = {market: change.bundle_id for (name, market), change in history.serving.items() if name == family}
    for market in sorted({market for market, bundle_id in recorded.items() if bundle_id} - set(activations)):
        yield (
            f"{family}/{ACTIVE}: the record log states that {_bundle_text(recorded[market])} serves {market}, but the file has no line "
            "for it, so a server that is started does not serve it; restore the line, or run: python -m server activate, "
            "or python -m server deactivate"
        )
    for market, bundle_id in activations.items():
        if recorded.get(market, bundle_id) == bundle_id:
            continue
        if bundle_id and (four_eyes or bundle_id in history.retired):
            why = (
                "was retired"
                if bundle_id in history.retired
                else "needs an approved proposal, because four_eyes is set"
            )
            effect = f"servers keep the recorded bundle, because the other one {why}: correct the file, or"
        else:
            effect = "the next server that reads the file records the change without an operator: to prevent this,"
        yield (
            f"{family}/{ACTIVE}: the record log states that {_bundle_text(recorded[market])} serves {market}, but the file "
            f"selects {_bundle_text(bundle_id)}; {effect} run: python -m server activate"
        )


def _bundle_text(bundle_id: str) -> str:
    """Return a bundle as text."""
    return f"bundle {bundle_id[:12]}" if bundle_id else "no bundle"
