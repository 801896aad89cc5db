"""The PIN: how it is compared, and how often it may be tried."""

import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from dataclasses import asdict

import orjson
import structlog

from titanflow.domain import lockout
from titanflow.domain.lockout import Record, Rule
from titanflow.errors import StorageUnavailable, TooManyRequests
from titanflow.storage import alarms, redis_keys
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import Busy, NativeThread

log = structlog.get_logger()

_MOST_WAITING = 4
_MOST_ADDRESSES = 10_000
_EVERYBODY = "everybody"


class Pin:
    """Compares by scrypt with a salt of this process, on a thread of its own: 16 MiB and some 50 ms a try.

    The hub goes on meanwhile, and a flood of logins costs one thread, not more.
    """

    def __init__(self, pin: str) -> None:
        self._salt = secrets.token_bytes(16)
        self._thread = NativeThread(most_waiting=_MOST_WAITING)
        self._derived = self._thread.run(_derive, pin, self._salt)

    def is_right(self, given: str) -> bool:
        """Compare, in constant time. Raises TooManyRequests if too many wait for theirs already."""
        try:
            derived = self._thread.run(_derive, given, self._salt)
        except Busy:
            raise TooManyRequests("Too many people log in at once", fix="Try again.", retry_after_s=2) from None
        return hmac.compare_digest(derived, self._derived)


class Tries:
    """Counts the tries of all processes in Redis, and of this one in memory as well.

    So Redis away, or emptied, costs only that each process counts for itself.
    """

    def __init__(self, db: Database, fast_copy: FastCopy) -> None:
        self._db, self._fast_copy = db, fast_copy
        self._own: OrderedDict[str, Record] = OrderedDict()

    def count(self, address: str) -> None:
        """Count a try before the PIN is looked at. Raises TooManyRequests that says how long to wait."""
        for who, rule in ((address, lockout.PER_ADDRESS), (_EVERYBODY, lockout.OVER_ALL)):
            wait_s = self._wait_s(who, rule)
            if wait_s > 0:
                seconds = math.ceil(wait_s)
                if who == _EVERYBODY and seconds == rule.first_s:  # the first that is refused, not all who follow
                    self._tell_operator()
                log.warning("login.refused", address=address, over_all=who == _EVERYBODY, wait_s=seconds)
                what = "Too many wrong PINs" if who == address else "Too many people try PINs right now"
                fix = f"Try again in {_words(seconds)}."
                raise TooManyRequests(what, fix=fix, retry_after_s=seconds)

    def forgive(self, address: str) -> None:
        """Forget an address that knew the PIN."""
        self._own.pop(address, None)
        try:
            self._fast_copy.forget(redis_keys.login_tries(address))
        except StorageUnavailable:
            log.warning("login.not_forgiven", address=address)

    def _tell_operator(self) -> None:
        fix = "Choose a long ADMIN_PIN and keep those addresses away at the proxy. Tokens and commands go on working."
        alarm = Alarm("pin_guessed", "server", "pages", "Many addresses try PINs, so nobody can sign in", fix)
        try:
            with self._db.connection() as connection:
                alarms.raise_alarm(connection, alarm)
        except StorageUnavailable as error:
            log.warning("alarm.not_raised", kind=alarm.kind, why=error.why)

    def _wait_s(self, who: str, rule: Rule) -> float:
        now = time.time()
        record, wait_s = lockout.attempt(self._own.pop(who, Record()), rule, now)
        self._own[who] = record
        if len(self._own) > _MOST_ADDRESSES:
            self._own.popitem(last=False)
        if wait_s > 0:
            return wait_s
        waits: list[float] = []

        def change(known: bytes | None) -> bytes:
            told, wait = lockout.attempt(Record(**orjson.loads(known)) if known else Record(), rule, now)
            waits.append(wait)
            return orjson.dumps(asdict(told))

        try:
            self._fast_copy.change(redis_keys.login_tries(who), change, ttl_s=lockout.MEMORY_S + rule.most_s)
        except StorageUnavailable as error:
            log.warning("login.counted_here_alone", why=error.why)
            return 0.0
        return waits[-1]


def _derive(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode("utf-8", "surrogatepass"), salt=salt, n=2**14, r=8, p=1)


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds <= 90 else f"{math.ceil(seconds / 60)} minutes"
