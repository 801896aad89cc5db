"""Sessions of the web pages: a row a login, known by the SHA-256 of its cookie."""

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_one

IDLE_S = 30 * 60
LIFETIME_S = 12 * 3600

_IS_ALIVE = """
    WITH seen AS (
        UPDATE web_sessions SET last_seen_at = now()
        WHERE hash = %(hash)s AND last_seen_at < now() - interval '1 minute'
          AND last_seen_at > now() - make_interval(secs => %(idle_s)s)
          AND created_at > now() - make_interval(secs => %(lifetime_s)s))
    SELECT FROM web_sessions
    WHERE hash = %(hash)s AND last_seen_at > now() - make_interval(secs => %(idle_s)s)
      AND created_at > now() - make_interval(secs => %(lifetime_s)s)
"""
_BURY = """
    DELETE FROM web_sessions
    WHERE hash = %(before)s OR last_seen_at <= now() - make_interval(secs => %(idle_s)s)
       OR created_at <= now() - make_interval(secs => %(lifetime_s)s)
"""
_TIMES = {"idle_s": IDLE_S, "lifetime_s": LIFETIME_S}


def begin(db: Database, digest: bytes, *, instead_of: bytes, address: str) -> None:
    """Keep a new session; the one before it in the same browser ends, and so do all that are over."""
    with db.transaction() as transaction:
        transaction.execute(_BURY, {**_TIMES, "before": instead_of})
        transaction.execute("INSERT INTO web_sessions (hash, address) VALUES (%s, %s)", [digest, address])


def is_alive(db: Database, digest: bytes) -> bool:
    """Tell whether a session is neither idle for IDLE_S nor older than LIFETIME_S; note its use once a minute."""
    return fetch_one(db, _IS_ALIVE, {**_TIMES, "hash": digest}) is not None


def end(db: Database, digest: bytes) -> None:
    """Sign out: no process takes the cookie any more."""
    with db.connection() as connection:
        connection.execute("DELETE FROM web_sessions WHERE hash = %s", [digest])


def end_all(db: Database) -> int:
    """Sign out everywhere. Returns how many sessions there were."""
    with db.connection() as connection:
        return connection.execute("DELETE FROM web_sessions").rowcount
