"""A link handed to Meta is public and holds no password."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titanflow.domain.links import refusal


@pytest.mark.parametrize(
    "link",
    [
        "https://example.com/offer.jpg",
        "https://cdn.example.com:8443/a%20b.pdf?x=1#y",
        "https://bücher.example/a.png",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::1111]/a.png",
        "HTTPS://EXAMPLE.COM/a",
    ],
)
def test_public_links_may_be_given_to_meta(link: str) -> None:
    assert refusal(link) is None


@pytest.mark.parametrize(
    "link",
    [
        "http://example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//example.com/a.png",
        "https://",
        "https:///a.png",
        "https://user:pass@example.com/a.png",
        "https://user@example.com/a.png",
        "https://example.com@127.0.0.1/a.png",
        "https://localhost/a.png",
        "https://server/a.png",
        "https://db.internal/a.png",
        "https://printer.local./a.png",
        "https://127.0.0.1/a.png",
        "https://10.1.2.3/a.png",
        "https://192.168.0.1/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/a.png",
        "https://0.0.0.0/a.png",
        "https://[::1]/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://[fd00::1]/a.png",
        "https://[fe80::1]/a.png",
        "https://2130706433/a.png",
        "https://127.1/a.png",
        "https://0x7f.0.0.0x1/a.png",
        "https://0177.0.0.01/a.png",
        "https://example..com/a.png",
        "https://example.com:99999/a.png",
        "https://exa mple.com/a.png",
        "https://example.com/a\r\nHost: evil",
        "https://example.com\\@127.0.0.1/a.png",
        "https://[::1/a.png",
        "https://example.com/" + "a" * 2000,
        "",
    ],
)
def test_other_links_may_not(link: str) -> None:
    assert refusal(link)


@settings(max_examples=200)
@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://a.b/", "https://[", "http://x@"]))
def test_no_text_is_too_odd(text: str, prefix: str) -> None:
    refusal(prefix + text)
