"""Reads hashes of the log's Merkle tree for proofs: from the head, from memory, from tiles, and from the records."""

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

_TILES_MAX = 1000  # in memory: 16 MB, for 65 million records; or 100 times as many single hashes, 21 MB


class TreeHashCache:
    """Tiles and hashes of complete subtrees of 256 records and more. They never change, and every proof needs some of them.

    May be used by several threads: entries are only added, until both mappings are replaced by empty ones.

    Attributes:
        tiles: Content by name; 16 KB for each 65,536 records.
        hashes: Hashes of the same levels that no tile has yet.
    """

    def __init__(self, limit: int = _TILES_MAX) -> None:
        """Begin empty; after `limit` tiles or 100 times as many hashes, and a few more, the cache starts over."""
        self._limit = limit
        self.tiles: dict[Node, bytes] = {}
        self.hashes: dict[Node, bytes] = {}

    def add(self, tiles: Mapping[Node, bytes], hashes: Mapping[Node, bytes]) -> None:
        """Add those that are far enough up."""
        if len(self.tiles) > self._limit or len(self.hashes) > 100 * self._limit:
            self.tiles, self.hashes = {}, {}
        self.tiles |= {node: content for node, content in tiles.items() if node.level > TILE_LEVELS}
        self.hashes |= {node: content for node, content in hashes.items() if node.level >= TILE_LEVELS}


class TreeHashReader:
    """Reads hashes of tree nodes with at most three queries; a `NodeReader` of grounds_record.merkle."""

    def __init__(
        self, connection: Connection, cache: TreeHashCache | None = None, known: Mapping[Node, bytes] | None = None
    ) -> None:
        """Read on a connection; hashes in `known`, such as the frontier of the head, are not read."""
        self._connection, self._cache, self._known = connection, cache or TreeHashCache(), known or {}

    def __call__(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """Return the hash of each node.

        Raises:
            RecordDamaged: A hash is missing.
        """
        # Another thread may start the cache over: these stay what they are now.
        cached_hashes, cached_tiles = self._cache.hashes, self._cache.tiles
        found = {node: known for node in nodes if (known := self._known.get(node) or cached_hashes.get(node))}
        found |= read_leaf_tile_hashes(self._connection, [node for node in nodes if node not in found])
        names = {node: tile_with(node) for node in nodes if node not in found}
        tiles = {tile: cached_tiles[tile] for tile in names.values() if tile in cached_tiles}
        new_tiles = read_tiles(self._connection, {tile for tile in names.values() if tile not in tiles})
        tiles |= new_tiles
        found |= {node: hash_in_tile(tiles[tile], node) for node, tile in names.items() if tile in tiles}
        # The rest: the end of the log, whose tiles are not complete, and what an early release wrote.
        untiled = read_record_hashes(self._connection, [node for node in nodes if node not in found])
        self._cache.add(new_tiles, untiled)
        return found | untiled
