"""The state of all keys, for `keys status`."""

from collections.abc import Iterator

from server.config import Settings
from server.stores.clock import utc_now
from server.stores.keys.places import KeyPlace, open_place
from server.stores.record_log.log import RecordLog
from server.stores.token_keys import PageTokenKeys


def key_status(log: RecordLog, settings: Settings) -> Iterator[str]:
    """Yield one sentence for each fact about the signing keys, the master key and the page-token keys."""
    signing = open_place(settings.signing_key)
    yield f"signing key {signing.description}: {log.verifier.text()} signs new checkpoints"
    for key, size in zip(log.keys.keys, log.keys.sizes, strict=False):
        yield f"earlier signing key {key.text()}: valid for checkpoints of at most {size:,} records"
    yield from _rotation_problems(signing, "signing")
    store = log.key_store
    current = store.read_master_id() or store.masters.main.key_id
    left = store.count_not_wrapped_by(current)
    yield f"master key {store.masters.place.description}: {current} encrypts new customers' keys"
    yield f"customers' keys that a different master key encrypts: {left:,}"
    yield from _rotation_problems(store.masters.place, "master")
    now = utc_now()
    for key_of_tokens in PageTokenKeys(log.database, utc_now).keys:
        yield f"page-token key since {key_of_tokens.since:%Y-%m-%d %H:%M} UTC: {'' if key_of_tokens.since <= now else 'not yet '}in use"


def _rotation_problems(place: KeyPlace, name: str) -> Iterator[str]:
    """Yield a sentence if the successor place has a key."""
    successor = place.successor()
    if successor.exists():
        yield (
            f"{successor.description} exists: a rotation is not finished; run: python -m server keys rotate {name}, or move the "
            f"key to {place.description}"
        )
