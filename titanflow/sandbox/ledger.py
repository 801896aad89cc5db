"""The ledger: what this Meta accepted, for whom, when. It knows the truth that the sender is judged by."""

from collections import Counter, deque
from dataclasses import dataclass

_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted message. answered: whether its answer left whole."""

    at: float
    number: str
    to: str
    template: str
    echo: str
    wamid: str
    answered: bool


class Window:
    """Counts events in a sliding second, and remembers the worst second."""

    __slots__ = ("_times", "worst")

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.worst = 0

    def add(self, at: float) -> int:
        """Count one more event; return how many the second that ends now holds."""
        times = self._times
        times.append(at)
        while times[0] <= at - _WINDOW_S:
            times.popleft()
        if len(times) > self.worst:
            self.worst = len(times)
        return len(times)


class Ledger:
    """Append only, in memory."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.posts = 0
        self.refused: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.windows: dict[str, Window] = {}
        self._by_message: Counter[str] = Counter()
        self._by_person: Counter[tuple[str, str]] = Counter()

    def arrived(self, number: str, at: float) -> int:
        """Count a POST of a number, whatever becomes of it. Returns how many this second holds."""
        self.posts += 1
        window = self.windows.get(number)
        if window is None:
            window = self.windows[number] = Window()
        return window.add(at)

    def accept(self, entry: Accepted) -> None:
        """Enter an accepted message."""
        self.accepted.append(entry)
        self._by_message[message_of(entry.echo)] += 1
        self._by_person[entry.to, entry.template] += 1

    def summary(self) -> dict[str, object]:
        """The figures that a run is judged by."""
        times = [entry.at for entry in self.accepted]
        return {
            "posts": self.posts,
            "accepted": len(self.accepted),
            "accepted_twice": sum(1 for count in self._by_message.values() if count > 1),
            "accepted_twice_by_person": sum(1 for count in self._by_person.values() if count > 1),
            "max_rate_1s": max((window.worst for window in self.windows.values()), default=0),
            "max_rate_1s_by_number": {number: window.worst for number, window in self.windows.items()},
            "refused": {str(code): count for code, count in self.refused.items()},
            "faults": dict(self.faults),
            "first_accepted_at": min(times, default=None),
            "last_accepted_at": max(times, default=None),
        }


def message_of(echo: str) -> str:
    """The part of an opaque id that names the message: all but the attempt behind the last colon."""
    return echo.rpartition(":")[0] or echo
