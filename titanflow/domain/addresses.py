"""Whose request it is, behind proxies. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network], *, trust_peer: bool = False) -> str:
    """Return the address of the client: the last hop of X-Forwarded-For that no trusted proxy stands for.

    What an untrusted peer claims is ignored: it could be anybody's. trust_peer: whoever connects is a proxy (`*`);
    only what it added itself, the last hop, is believed.
    """
    client = peer
    for hop in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not (trust_peer and client == peer) and not _is_in(client, trusted):
            return client
        if not _is_address(hop):
            return client
        client = hop
    return client


def limited_by(address: str) -> str:
    """Return what a limit counts by: the address, of IPv6 its /64, since one client owns all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((parsed.packed[:8] + bytes(8), 64)))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, trusted: Sequence[Network]) -> bool:
    if not _is_address(address):
        return False
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return any(one in network for network in trusted for one in (parsed, mapped) if one is not None)
