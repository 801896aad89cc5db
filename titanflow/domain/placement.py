"""Rendezvous hashing: which node serves a number. Every node computes the same answer from the same list."""

import hashlib
from collections.abc import Sequence


def home(kind: str, resource_id: int, node_ids: Sequence[int]) -> int | None:
    """Return the node with the highest weight for a resource; None if there is no node.

    When a node comes or goes, only the resources it wins or loses move.
    """
    return max(node_ids, key=lambda node_id: _weight(kind, resource_id, node_id), default=None)


def _weight(kind: str, resource_id: int, node_id: int) -> bytes:
    return hashlib.blake2b(f"{kind}:{resource_id}:{node_id}".encode(), digest_size=8).digest()
