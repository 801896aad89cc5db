"""Where an access token may go: Meta's hosts and the configured origin, however an address is written."""

import pytest

from titanflow.domain.meta_hosts import is_metas

_GRAPH = "https://graph.facebook.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=6&ext=1&hash=A",
        "https://mmg.whatsapp.net/x",
        "https://scontent.xx.fbcdn.net:443/x",
        "https://LOOKASIDE.FBSBX.COM/x",
    ],
)
def test_metas_own_hosts(url: str) -> None:
    assert is_metas(url, _GRAPH)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "http://lookaside.fbsbx.com/x",
        "https://evil.com/x",
        "https://fbsbx.com.evil.com/x",
        "https://evilfbsbx.com/x",
        "https://lookaside.fbsbx.com@evil.com/x",
        "https://evil.com\\@lookaside.fbsbx.com/x",
        "https://user@lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com:8443/x",
        "https://lookaside.fbsbx.com:99999999/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "https://[::1",
        "https://lookaside.fbsbx.com/x\r\nHost: evil.com",
        "https://lookaside.fbsbx.com/a b",
        "https://lookaside.fbsbx.cöm/x",
        "file:///etc/passwd",
        "gopher://lookaside.fbsbx.com/x",
    ],
)
def test_everybody_else(url: str) -> None:
    assert not is_metas(url, _GRAPH)


def test_the_configured_origin_alone() -> None:
    graph = "http://127.0.0.1:9009/base"
    assert is_metas("http://127.0.0.1:9009/_media/1?until=2", graph)
    assert not is_metas("http://127.0.0.1:9010/_media/1", graph)
    assert not is_metas("https://127.0.0.1:9009/_media/1", graph)
    assert not is_metas("http://localhost:9009/_media/1", graph)
