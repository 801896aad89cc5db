"""Columns of a batch as PostgreSQL's text form of arrays, for statements that cast them: %(log_ids)s::bigint[].

psycopg finds out the type of every element and quotes them one by one: a fifth of what taking in batched webhooks cost.
Only for statements that name the type of each array.
"""

from collections.abc import Iterable
from datetime import datetime


def numbers(values: Iterable[int | None]) -> str:
    """Return integers."""
    return "{" + ",".join(["NULL" if one is None else str(one) for one in values]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """Return texts, whatever is in them."""
    return "{" + ",".join(["NULL" if one is None else _quoted(one) for one in values]) + "}"


def times(values: Iterable[datetime]) -> str:
    """Return times that know their zone."""
    return "{" + ",".join([one.isoformat() for one in values]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
