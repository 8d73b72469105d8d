"""Reads hashes of the log's Merkle tree for proofs: from the head of the log, a cache, tiles, and the records."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from grounds_record.merkle import Node
from server.stores.record_log.tiles import (
    TILE_LEVELS,
    hash_in_tile,
    read_leaf_tile_hashes,
    read_record_hashes,
    read_tiles,
    tile_with,
)

_TILES_MAX = 1000  # limit of cached tiles, which is 16 MB for 65 million records; the limit of single hashes is 100 times as high, 21 MB


class TreeHashCache:
    """A cache of tiles and hashes of complete subtrees of 256 or more records, which never change. Every proof uses some of them.

    Several threads may use the cache, because entries are only added. To clear the cache, both mappings are replaced with new ones.

    Attributes:
        tiles: Content of tiles by name; 16 KB for each 65,536 records.
        hashes: Single hashes of level 8 or higher that were not in a tile when they were read, by node.
    """

    def __init__(self, limit: int = _TILES_MAX) -> None:
        """Create an empty cache. It is cleared when it has more than `limit` tiles or 100 * `limit` hashes."""
        self._limit = limit
        self.tiles: dict[Node, bytes] = {}
        self.hashes: dict[Node, bytes] = {}

    def add(self, tiles: Mapping[Node, bytes], hashes: Mapping[Node, bytes]) -> None:
        """Add the tiles and hashes of subtrees of 256 or more records; ignore the others."""
        if len(self.tiles) > self._limit or len(self.hashes) > 100 * self._limit:
            self.tiles, self.hashes = {}, {}
        self.tiles |= {node: content for node, content in tiles.items() if node.level > TILE_LEVELS}
        self.hashes |= {node: content for node, content in hashes.items() if node.level >= TILE_LEVELS}


class TreeHashReader:
    """A `NodeReader` of grounds_record.merkle that reads hashes of tree nodes with at most three queries."""

    def __init__(
        self, connection: Connection, cache: TreeHashCache | None = None, known: Mapping[Node, bytes] | None = None
    ) -> None:
        """Create a reader.

        Args:
            connection: Connection to the log's database.
            cache: Cache that the reader uses and adds to; None for a new cache.
            known: Hashes that need not be read, such as the peaks in the head.
        """
        self._connection, self._cache, self._known = connection, cache or TreeHashCache(), known or {}

    def __call__(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """Return the hash of each node.

        Raises:
            RecordDamaged: A hash is missing.
        """
        # Another thread may clear the cache. Local references keep the current mappings alive.
        cached_hashes, cached_tiles = self._cache.hashes, self._cache.tiles
        found = {node: known for node in nodes if (known := self._known.get(node) or cached_hashes.get(node))}
        found |= read_leaf_tile_hashes(self._connection, [node for node in nodes if node not in found])
        names = {node: tile_with(node) for node in nodes if node not in found}
        tiles = {tile: cached_tiles[tile] for tile in names.values() if tile in cached_tiles}
        new_tiles = read_tiles(self._connection, {tile for tile in names.values() if tile not in tiles})
        tiles |= new_tiles
        found |= {node: hash_in_tile(tiles[tile], node) for node, tile in names.items() if tile in tiles}
        # The remaining hashes are those of incomplete tiles at the end of the log, and of records from releases without tiles.
        untiled = read_record_hashes(self._connection, [node for node in nodes if node not in found])
        self._cache.add(new_tiles, untiled)
        return found | untiled
