"""The ledger: what this Meta accepted, for whom, when. It knows the truth that the sender is judged by.

Append only, in memory, in columns: some 150 bytes a message, so that a million fit. All sums are kept as they change.
"""

from array import array
from bisect import insort
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

_WINDOW_S = 1.0
GLANCE_S = 0.001
_SHARDS = 64
_NOT_A_PHONE = 1 << 63

STATUSES = ("sent", "delivered", "read", "failed")
_ANSWERED = 1 << len(STATUSES)


class Window:
    """Counts events in a sliding second, and remembers the worst second.

    An event is stamped when this process reads it; it came in between `earliest` and the stamp. `worst` counts only
    what surely lay within one second, so that a judge who was late himself accuses nobody; `worst_stamped` goes by the
    stamps alone.
    """

    __slots__ = ("_earliest", "_stamped", "worst", "worst_stamped")

    def __init__(self) -> None:
        self._stamped: deque[float] = deque()
        self._earliest: deque[float] = deque()
        self.worst = self.worst_stamped = 0

    def add(self, at: float, earliest: float | None = None) -> int:
        """Count one more event; return how many the second that ends now surely holds."""
        self._stamped.append(at)
        insort(self._earliest, at if earliest is None else min(at, earliest))  # at the end, but for new connections
        self.worst_stamped = max(self.worst_stamped, _held(self._stamped, at))
        held = _held(self._earliest, at)
        self.worst = max(self.worst, held)
        return held

    def held(self, at: float) -> int:
        """How many events the second that ends now surely holds."""
        return _held(self._earliest, at)


def _held(times: deque[float], at: float) -> int:
    while times and times[0] <= at - _WINDOW_S:
        times.popleft()
    return len(times)


class Glances:
    """When this process looked at its connections: what it reads now had not come before the last glance but one.

    A timer glances each millisecond. Between two of its ticks the loop polls at least once, and would have read
    whatever was there at the first.
    """

    def __init__(self) -> None:
        self._last = self.earliest = 0.0
        self.worst_lag_s = 0.0

    def glance(self, now: float) -> None:
        """The timer's tick."""
        if self._last:
            self.worst_lag_s = max(self.worst_lag_s, now - self._last - GLANCE_S)
        self.earliest, self._last = self._last, now


class Seen:
    """A set of hashes in shards: growing one set of a million would stop the loop for tens of milliseconds."""

    __slots__ = ("_shards", "repeated")

    def __init__(self) -> None:
        self._shards: list[set[int]] = [set() for _ in range(_SHARDS)]
        self.repeated: set[int] = set()

    def add(self, key: int) -> None:
        """Enter a hash; a second time it counts as repeated."""
        shard = self._shards[key >> 40 & _SHARDS - 1]
        before = len(shard)
        shard.add(key)
        if len(shard) == before:
            self.repeated.add(key)


class Ledger:
    """Rows are numbered from 0 as they come."""

    def __init__(self) -> None:
        self.posts = 0
        self.glances = Glances()
        self.refused: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.failed: Counter[int] = Counter()  # by the code of the webhook that will report it
        self.windows: dict[str, Window] = {}
        self.held = self.sent_after_stop = 0
        self._at = array("d")
        self._number = array("I")
        self._template = array("I")
        self._to = array("Q")
        self._echo_ends = array("Q")
        self._echoes = bytearray()
        self._flags = bytearray()
        self._names: list[str] = []
        self._name_ids: dict[str, int] = {}
        self._messages, self._people = Seen(), Seen()

    def __len__(self) -> int:
        return len(self._at)

    def arrived(self, number: str, at: float, earliest: float | None = None) -> int:
        """Count a POST of a number, whatever becomes of it. Returns how many this second surely holds.

        earliest: since when it may have been there; by default since the last glance but one.
        """
        self.posts += 1
        window = self.windows.get(number)
        if window is None:
            window = self.windows[number] = Window()
        return window.add(at, self.glances.earliest if earliest is None else earliest)

    def accept(self, at: float, number: str, to: str, template: str, echo: str) -> int:
        """Enter an accepted message. Returns its row. to: in E.164 form, or a business-scoped user id."""
        row = len(self._at)
        self._at.append(at)
        self._number.append(self._name(number))
        self._template.append(self._name(template))
        self._to.append(int(to) if to[1:].isdigit() else self._name(to) | _NOT_A_PHONE)
        self._echoes += echo.encode()
        self._echo_ends.append(len(self._echoes))
        self._flags.append(0)
        if echo:
            self._messages.add(hash(message_of(echo)))
        if template:
            self._people.add(hash((to, template)))
        return row

    def answered(self, row: int) -> None:
        """Note that the whole answer was given to the connection."""
        self._flags[row] |= _ANSWERED

    def acknowledged(self, row: int, status: int) -> None:
        """Note that somebody answered 200 to this status of a message (an index of STATUSES)."""
        self._flags[row] |= 1 << status

    def rows(self, wamid_of: Any) -> Iterator[dict[str, Any]]:
        """All rows. wamid_of: row -> message id. May be taken slowly, while rows are added."""
        row = start = 0
        while row < len(self._at):
            end, flags = self._echo_ends[row], self._flags[row]
            yield {
                "at": self._at[row],
                "number": self._names[self._number[row]],
                "to": self._recipient(self._to[row]),
                "template": self._names[self._template[row]],
                "echo": self._echoes[start:end].decode(),
                "wamid": wamid_of(row),
                "answered": bool(flags & _ANSWERED),
                "acknowledged": sorted(status for n, status in enumerate(STATUSES) if flags & 1 << n),
            }
            row, start = row + 1, end

    def summary(self) -> dict[str, object]:
        """The figures that a run is judged by. Costs the same however long the ledger is."""
        return {
            "posts": self.posts,
            "accepted": len(self._at),
            "accepted_twice": len(self._messages.repeated),
            "accepted_twice_by_person": len(self._people.repeated),
            "max_rate_1s": max((window.worst for window in self.windows.values()), default=0),
            "max_rate_1s_by_number": {number: window.worst for number, window in self.windows.items()},
            "max_stamped_1s": max((window.worst_stamped for window in self.windows.values()), default=0),
            "worst_lag_ms": round(self.glances.worst_lag_s * 1000, 1),
            "refused": {str(code): count for code, count in self.refused.items()},
            "faults": dict(self.faults),
            "failed": {str(code): count for code, count in self.failed.items()},
            "held": self.held,
            "sent_after_stop": self.sent_after_stop,
            "first_accepted_at": self._at[0] if self._at else None,
            "last_accepted_at": self._at[-1] if self._at else None,
        }

    def _name(self, name: str) -> int:
        known = self._name_ids.get(name)
        if known is None:
            known = self._name_ids[name] = len(self._names)
            self._names.append(name)
        return known

    def _recipient(self, to: int) -> str:
        return self._names[to ^ _NOT_A_PHONE] if to & _NOT_A_PHONE else f"+{to}"


def message_of(echo: str) -> str:
    """The part of an opaque id that names the message: all but the attempt behind the last colon."""
    return echo.rpartition(":")[0] or echo
