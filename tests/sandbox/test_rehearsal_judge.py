"""The judge of a rehearsal ends quietly with whoever asked it."""

import io

import pytest

from titanflow.sandbox.rehearsal import serve

_WORLD = b'{"numbers": [], "templates": {}, "portfolios": {}}\n'


@pytest.mark.parametrize("cut", [_WORLD[:20], _WORLD + b'{"number": "1", "mess'])
def test_a_line_that_is_cut_short_is_the_end(cut: bytes) -> None:
    """Its traceback took the place of the reason for which the rehearsal had ended: its worker was killed."""
    verdicts = io.BytesIO()

    serve(io.BytesIO(cut), verdicts)

    assert verdicts.getvalue() == b""
