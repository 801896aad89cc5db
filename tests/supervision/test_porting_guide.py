"""The example of docs/porting-from-otp.md is run as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

from titanflow.supervision import VirtualClock, exit_process, stop, via, whereis
from titanflow.supervision import __all__ as public_names

_GUIDE = Path(__file__).resolve().parents[2] / "docs" / "porting-from-otp.md"


def _example() -> Any:
    found = re.search(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    assert found is not None
    module = types.ModuleType("porting_example")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(found.group(1), module.__dict__)
    return module


def test_the_example_works_as_written(clock: VirtualClock) -> None:
    example = _example()
    sup = example.start_caches()

    example.put("acme", "colour", "blue")
    fresh = example.get("acme", "colour")
    clock.advance(60_000)
    expired = example.get("acme", "colour")
    first = whereis(via("cache", "acme"))
    assert first is not None
    exit_process(first, "oops")
    clock.settle()

    assert (fresh, expired) == ("blue", None)
    assert whereis(via("cache", "acme")) not in (None, first)
    assert example.get("acme", "colour") is None
    stop(sup)


def test_the_guide_names_only_what_the_package_exports() -> None:
    text = _GUIDE.read_text()
    imported = re.search(r"from titanflow\.supervision import ([^\n]+)", text)
    assert imported is not None

    assert set(imported.group(1).split(", ")) <= set(public_names)
    for name in re.findall(r"`(?:class \w+\()?([A-Z]\w+)\(", text):
        assert name in {*public_names, "Counter", "Get"}, name
