"""X-Forwarded-For is anybody's word, unless a trusted proxy wrote it."""

from ipaddress import ip_network

import pytest

from titanflow.domain.addresses import client_address, limited_by

_TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # not a proxy of ours: a lie
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the client wrote the first itself
        ("127.0.0.1", "198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "nonsense, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_last_hop_that_nobody_vouches_for_is_the_client(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, _TRUSTED) == client


def test_with_a_star_only_what_the_peer_added_is_believed() -> None:
    assert client_address("203.0.113.5", "6.6.6.6, 198.51.100.1", (), trust_peer=True) == "198.51.100.1"
    assert client_address("203.0.113.5", "", (), trust_peer=True) == "203.0.113.5"


def test_a_limit_counts_a_client_not_its_addresses() -> None:
    assert limited_by("2001:db8:1:2:3:4:5:6") == limited_by("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert limited_by("::ffff:203.0.113.5") == "203.0.113.5"
    assert limited_by("203.0.113.5") == "203.0.113.5"
    assert len(limited_by("x" * 1000)) == 64
