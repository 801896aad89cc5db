"""Loaded by the server's interpreter at its start: moves Python's wall clock by the seconds in a file.

Only what asks `time` or `datetime` is fooled. Monotonic clocks stand where they stood, as on a real machine.
"""

import datetime
import os
import time
from typing import Any

_FILE = os.environ.get("CHAOS_CLOCK_FILE", "")
_LOOK_EVERY_S = 0.1

_real_time, _real_time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_real_datetime = datetime.datetime
_known = [0.0, 0.0]  # seconds to add, when to look again


def _offset_s() -> float:
    if _monotonic() >= _known[1]:
        _known[1] = _monotonic() + _LOOK_EVERY_S
        try:
            with open(_FILE) as file:
                _known[0] = float(file.read() or 0)
        except (OSError, ValueError):
            pass
    return _known[0]


class _LooksReal(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class _Moved(_real_datetime, metaclass=_LooksReal):
    __slots__ = ()  # of the same size: C extensions look at that

    def __new__(cls, *parts: Any, **named: Any) -> Any:
        return _real_datetime(*parts, **named)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real_datetime.fromtimestamp(_real_time() + _offset_s(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


if _FILE:
    time.time = lambda: _real_time() + _offset_s()
    time.time_ns = lambda: _real_time_ns() + int(_offset_s() * 1e9)
    datetime.datetime = _Moved  # type: ignore[misc]
