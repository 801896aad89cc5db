"""Lists of a campaign's contacts with what became of them: pages by contact id, each with a bound on what is read.

message_logs.state is in no index (docs/decisions/0002-schema.md), so each filter has a way of its own: what somebody
must still look at has due_at, failures have failed_at and error_code, exclusions a partial index of contacts. Common
states are found by walking the campaign in order. Where they have become rare, a walk ends after WALK_AT_MOST rows, and
the page may be short: its cursor goes on from there (docs/decisions/0018-roll-ups.md).
"""

from dataclasses import dataclass
from typing import Any, LiteralString

from titanflow.storage import counters
from titanflow.storage.counters import STATE_OF_CONTACT
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

WALK_AT_MOST = 20_000
_WALKS = 5  # as long as nobody was found
_COMMON = ("sent", "delivered", "read")
_WAITING = ("claimed", "retrying", "in_doubt")
_WITH_CODE = ("failed", "retrying", "in_doubt")  # of others an error code is history


@dataclass(frozen=True, slots=True)
class Filters:
    """All that are given must fit."""

    state: str | None = None
    code: int | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A page. next_after: the contact id that the next one begins behind, None at the end."""

    rows: list[dict[str, Any]]
    next_after: int | None


# Each is a CTE `page` of contact ids, in order, at most %(limit)s of them behind %(after)s.
_ALL = """
    (SELECT id AS contact_id FROM contacts
     WHERE campaign_id = %(id)s AND excluded_reason IS NULL AND id > %(after)s ORDER BY id LIMIT %(limit)s)
    UNION ALL
    (SELECT id FROM contacts
     WHERE campaign_id = %(id)s AND excluded_reason IS NOT NULL AND id > %(after)s ORDER BY id LIMIT %(limit)s)
    ORDER BY contact_id LIMIT %(limit)s
"""

_OF_PHONE = """
    SELECT id AS contact_id FROM contacts
    WHERE phone = %(phone)s AND campaign_id = %(id)s AND id > %(after)s
"""

_WALKED = """
    SELECT contact_id FROM (
        SELECT contact_id, state FROM message_logs WHERE campaign_id = %(id)s AND contact_id > %(after)s
        ORDER BY contact_id LIMIT %(walk)s
    ) AS walked
    WHERE state = %(state)s::message_state ORDER BY contact_id LIMIT %(limit)s
"""
_WALKED_END = """
    SELECT contact_id FROM message_logs WHERE campaign_id = %(id)s AND contact_id > %(after)s
    ORDER BY contact_id OFFSET %(walk)s - 1 LIMIT 1
"""

# The subquery is asked for one contact after the other, as far as the page needs.
_UNSENT = """
    SELECT walked.id AS contact_id FROM (
        SELECT id FROM contacts
        WHERE campaign_id = %(id)s AND excluded_reason IS {null} AND id > %(after)s ORDER BY id LIMIT %(walk)s
    ) AS walked
    WHERE coalesce((SELECT state::text FROM message_logs AS message
                    WHERE message.campaign_id = %(id)s AND message.contact_id = walked.id), {otherwise}) = %(state)s
    ORDER BY walked.id LIMIT %(limit)s
"""
_UNSENT_END = """
    SELECT id FROM contacts WHERE campaign_id = %(id)s AND excluded_reason IS {null} AND id > %(after)s
    ORDER BY id OFFSET %(walk)s - 1 LIMIT 1
"""
_OTHERWISE = "(SELECT CASE state WHEN 'cancelled' THEN 'cancelled' ELSE 'pending' END FROM campaigns WHERE id = %(id)s)"

# OFFSET 0: the few that wait are read by their index and sorted, never found by a walk over all.
_DUE = """
    SELECT contact_id FROM (
        SELECT contact_id FROM message_logs
        WHERE campaign_id = %(id)s AND due_at IS NOT NULL AND state = %(state)s::message_state OFFSET 0
    ) AS waiting
    WHERE contact_id > %(after)s ORDER BY contact_id LIMIT %(limit)s
"""

_FAILED = """
    SELECT contact_id FROM message_logs
    WHERE campaign_id = %(id)s AND contact_id > %(after)s AND failed_at IS NOT NULL AND state = 'failed'
    ORDER BY contact_id LIMIT %(limit)s
"""

_OF_CODE = """
    SELECT contact_id FROM message_logs
    WHERE campaign_id = %(id)s AND error_code = %(code)s AND contact_id > %(after)s
      AND state IN ('failed', 'retrying', 'in_doubt') AND (%(state)s::message_state IS NULL OR state = %(state)s)
    ORDER BY contact_id LIMIT %(limit)s
"""

_TEXT = f"""
    WITH page AS MATERIALIZED ({{page}})
    SELECT contact.id AS contact_id, contact.phone, {STATE_OF_CONTACT} AS state,
           CASE WHEN message.id IS NULL OR message.state = 'excluded' THEN contact.excluded_reason
                WHEN message.state IN ('failed', 'retrying', 'in_doubt') THEN message.error_detail END AS reason,
           CASE WHEN message.state IN ('failed', 'retrying', 'in_doubt') THEN message.error_code END AS error_code,
           message.id AS log_id, message.wamid, coalesce(message.attempt, 0) AS attempts,
           number.phone_number_id, template.name AS template,
           message.sent_at, message.delivered_at, message.read_at
    FROM page
    CROSS JOIN (SELECT state FROM campaigns WHERE id = %(id)s) AS campaign
    JOIN contacts AS contact ON contact.id = page.contact_id
    LEFT JOIN message_logs AS message ON message.campaign_id = %(id)s AND message.contact_id = page.contact_id
    LEFT JOIN phone_numbers AS number ON number.id = message.number_id
    LEFT JOIN templates AS template ON template.id = message.template_id
    ORDER BY page.contact_id
"""  # noqa: S608  (constants only)


def _statement(page: LiteralString) -> LiteralString:
    return _TEXT.format(page=page)


_BY_ALL, _BY_PHONE, _BY_WALK = _statement(_ALL), _statement(_OF_PHONE), _statement(_WALKED)
_BY_UNSENT = _statement(_UNSENT.format(null="NULL", otherwise=_OTHERWISE))
_BY_EXCLUDED = _statement(_UNSENT.format(null="NOT NULL", otherwise="'excluded'"))
_BY_DUE, _BY_FAILED, _BY_CODE = _statement(_DUE), _statement(_FAILED), _statement(_OF_CODE)
_UNSENT_ENDS = {"NULL": _UNSENT_END.format(null="NULL"), "NOT NULL": _UNSENT_END.format(null="NOT NULL")}


def page(db: Database, campaign_id: int, filters: Filters, *, after: int, limit: int, dense: bool = False) -> Listed:
    """Return contacts of a campaign with what became of them, by contact id, those behind `after`.

    dense: most of the campaign is in that state, so that a walk finds it sooner than an index of what waits.
    """
    state, code = filters.state, filters.code
    parameters = {
        "id": campaign_id, "after": after, "limit": limit, "walk": WALK_AT_MOST, "state": state, "code": code,
        "phone": filters.phone,
    }  # fmt: skip
    if code is not None and state is not None and state not in _WITH_CODE:
        return Listed([], None)
    statement, end = _way(state, code, filters.phone, dense=dense)
    rows = fetch_all(db, statement, parameters)
    for _ in range(_WALKS - 1):
        if rows or end is None or (last := fetch_one(db, end, parameters)) is None:
            break
        parameters["after"] = next(iter(last.values()))
        rows = fetch_all(db, statement, parameters)
    if filters.phone is not None:
        rows = [row for row in rows if state in (None, row["state"]) and code in (None, row["error_code"])]
        return Listed(rows, None)
    if len(rows) == limit:
        return Listed(rows, int(rows[-1]["contact_id"]))
    last = fetch_one(db, end, parameters) if end is not None else None
    return Listed(rows, int(next(iter(last.values()))) if last else None)


def _way(
    state: str | None, code: int | None, phone: str | None, *, dense: bool
) -> tuple[LiteralString, LiteralString | None]:
    """The statement for the filters, and the one that finds where a walk ended."""
    if phone is not None:
        return _BY_PHONE, None
    if code is not None:
        return _BY_CODE, None
    if state in _COMMON or (state in _WAITING and dense):
        return _BY_WALK, _WALKED_END
    if state in _WAITING:
        return _BY_DUE, None
    if state == "failed":
        return _BY_FAILED, None
    if state == "excluded":
        return _BY_EXCLUDED, _UNSENT_ENDS["NOT NULL"]
    if state in ("pending", "cancelled"):
        return _BY_UNSENT, _UNSENT_ENDS["NULL"]
    return _BY_ALL, None


_FAILED_WITH_CODE = """
    SELECT coalesce(sum(count), 0)::bigint AS count FROM campaign_reasons
    WHERE campaign_id = %(id)s AND state = 'failed' AND reason = %(code)s::text
"""
_DUE_WITH_CODE = """
    SELECT state::text AS state, count(*) AS count FROM message_logs
    WHERE campaign_id = %(id)s AND due_at IS NOT NULL AND error_code = %(code)s AND state IN ('retrying', 'in_doubt')
    GROUP BY state
"""


def messages(db: Database, campaign_id: int, filters: Filters, *, after: int, limit: int) -> tuple[Listed, int]:
    """Return a page and how many there are of it in all, exactly."""
    counts = counters.read(db, campaign_id).by_state
    total = sum(counts.values())
    matching = counts[filters.state] if filters.state else total
    listed = page(db, campaign_id, filters, after=after, limit=limit, dense=matching * 10 > total)
    if filters.phone is not None:
        return listed, len(listed.rows)
    if filters.code is not None:
        return listed, _with_code(db, campaign_id, filters.code, filters.state)
    return listed, matching


def _with_code(db: Database, campaign_id: int, code: int, state: str | None) -> int:
    parameters = {"id": campaign_id, "code": code}
    failed = fetch_one(db, _FAILED_WITH_CODE, parameters)
    found = {row["state"]: row["count"] for row in fetch_all(db, _DUE_WITH_CODE, parameters)}
    found["failed"] = failed["count"] if failed else 0
    return int(found.get(state, 0) if state else sum(found.values()))
