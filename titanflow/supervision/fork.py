"""Fork safety: actors live in the process that started them, and in no child of it.

A forked child inherits every greenlet; without this, each actor would run twice, with the same sockets. In the
child all of them are dead at once, names and timers are gone, and the hub is thrown away, so that nothing of the
parent ever runs there. Their greenlets are kept, never collected: collecting them would run their clean-up code on
the parent's sockets.
"""

from __future__ import annotations

import os
from typing import Any

import gevent
from gevent.hub import get_hub

from titanflow.supervision import events
from titanflow.supervision.process import processes

_orphans: list[Any] = []


def _disown() -> None:
    if not processes:
        return
    for process in processes.values():
        pid = process.pid
        pid._process = None
        for registry, key in process.names:
            registry.forget(key, pid)
        _orphans.append(process)
    processes.clear()
    events.graveyard.clear()
    hub = get_hub()
    _orphans.append(hub)
    _orphans.append(hub.loop)
    if gevent.getcurrent() is not hub:
        hub.destroy(destroy_loop=True)


os.register_at_fork(after_in_child=_disown)
