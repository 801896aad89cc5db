"""Pages of lists by keyset: a page begins behind a row's key, so rows that come and go move no other."""

from collections.abc import Callable
from typing import Any

import falcon

from titanflow.errors import InvalidInput
from titanflow.http.bodies import limit_of

Rows = list[dict[str, Any]]
_INNER = ("total", "row_id")


def page_of(
    request: falcon.Request,
    page: Callable[[Any, int], Rows],
    *,
    start: int | str = 0,
    key: str = "id",
    read: Callable[[str], int | str] = int,
    write: Callable[[Any], str] = str,
) -> dict[str, Any]:
    """Return a list's answer to the request's ?limit= and ?cursor=.

    page(cursor, limit): the rows behind a key, each with the count of all as `total`. start: the cursor of the first
    page. read, write: a cursor as clients have it, from and to a key. There is a next page only if it has something,
    as things stand now. Raises InvalidInput for a cursor that isn't ours.
    """
    limit, text = limit_of(request), request.get_param("cursor")
    try:
        cursor = (read(text) if text else start) or start
    except ValueError:
        raise InvalidInput("cursor can't be used", fix="Take it from next_cursor of the page before.") from None
    rows = page(cursor, limit + 1)
    counted = rows or page(start, 1)  # behind the end there is no row that could tell
    shown = rows[:limit]
    return {
        "items": [{name: value for name, value in row.items() if name not in _INNER} for row in shown],
        "next_cursor": write(shown[-1][key]) if len(rows) > limit else None,
        "total": counted[0]["total"] if counted else 0,
    }
