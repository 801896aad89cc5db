"""Lists of a campaign's contacts with what became of them: pages by contact id, each with a bound on what is read.

message_logs.state is in no index (docs/decisions/0002-schema.md), so each filter has a way of its own: what somebody
must still look at has due_at, failures have failed_at and error_code, exclusions a partial index of contacts. Common
states are found by walking the campaign in order. Where they have become rare, the walk has an end, and the page may be
short: its cursor goes on from there (docs/decisions/0018-roll-ups.md).
"""

from dataclasses import dataclass
from typing import Any, LiteralString

from titanflow.storage import counters
from titanflow.storage.counters import STATE_OF_CONTACT
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

# How many rows are walked through in turn: a little, then more.
_WALKS = (1_000, 6_000)
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

# Contacts and messages of the same piece of the campaign, each read in order, and held against each other. Whoever is
# pending has no message: two indexes are enough.
_PENDING = """
    WITH walked AS MATERIALIZED (
        SELECT id FROM contacts
        WHERE campaign_id = %(id)s AND excluded_reason IS NULL AND id > %(after)s
          AND EXISTS (SELECT FROM campaigns WHERE id = %(id)s AND state <> 'cancelled')
        ORDER BY id LIMIT %(walk)s
    )
    SELECT walked.id AS contact_id FROM walked
    LEFT JOIN (SELECT contact_id FROM message_logs
               WHERE campaign_id = %(id)s AND contact_id > %(after)s AND contact_id <= (SELECT max(id) FROM walked)
               OFFSET 0) AS message ON message.contact_id = walked.id
    WHERE message.contact_id IS NULL ORDER BY walked.id LIMIT %(limit)s
"""

_CANCELLED = """
    WITH walked AS MATERIALIZED (
        SELECT id FROM contacts
        WHERE campaign_id = %(id)s AND excluded_reason IS NULL AND id > %(after)s ORDER BY id LIMIT %(walk)s
    )
    SELECT walked.id AS contact_id FROM walked
    LEFT JOIN (SELECT contact_id, state FROM message_logs
               WHERE campaign_id = %(id)s AND contact_id > %(after)s AND contact_id <= (SELECT max(id) FROM walked)
               OFFSET 0) AS message ON message.contact_id = walked.id
    WHERE coalesce(message.state::text, (SELECT CASE state WHEN 'cancelled' THEN 'cancelled' ELSE 'pending' END
                                         FROM campaigns WHERE id = %(id)s)) = 'cancelled'
    ORDER BY walked.id LIMIT %(limit)s
"""

# Few of them have a message: it is asked for one by one, as far as the page needs.
_EXCLUDED = """
    SELECT walked.id AS contact_id FROM (
        SELECT id FROM contacts
        WHERE campaign_id = %(id)s AND excluded_reason IS NOT NULL AND id > %(after)s ORDER BY id LIMIT %(walk)s
    ) AS walked
    WHERE coalesce((SELECT state FROM message_logs AS message
                    WHERE message.campaign_id = %(id)s AND message.contact_id = walked.id), 'excluded') = 'excluded'
    ORDER BY walked.id LIMIT %(limit)s
"""
_CONTACTS_END = """
    SELECT id FROM contacts WHERE campaign_id = %(id)s AND excluded_reason IS {null} AND id > %(after)s
    ORDER BY id OFFSET %(walk)s - 1 LIMIT 1
"""
_UNSENT_END, _EXCLUDED_END = _CONTACTS_END.format(null="NULL"), _CONTACTS_END.format(null="NOT NULL")

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
_BY_PENDING, _BY_CANCELLED, _BY_EXCLUDED = _statement(_PENDING), _statement(_CANCELLED), _statement(_EXCLUDED)
_BY_DUE, _BY_FAILED, _BY_CODE = _statement(_DUE), _statement(_FAILED), _statement(_OF_CODE)


def page(db: Database, campaign_id: int, filters: Filters, *, after: int, limit: int, dense: bool = False) -> Listed:
    """Return contacts of a campaign with what became of them, by contact id, those behind `after`.

    dense: most of the campaign is in that state, so that a walk finds it sooner than an index of what waits.
    """
    state, code = filters.state, filters.code
    parameters: dict[str, Any] = {
        "id": campaign_id, "after": after, "limit": limit, "walk": 0, "state": state, "code": code,
        "phone": filters.phone,
    }  # fmt: skip
    if code is not None and state is not None and state not in _WITH_CODE:
        return Listed([], None)
    statement, end = _way(state, code, filters.phone, dense=dense)
    if filters.phone is not None:
        rows = fetch_all(db, statement, parameters)
        rows = [row for row in rows if state in (None, row["state"]) and code in (None, row["error_code"])]
        return Listed(rows, None)
    found: list[dict[str, Any]] = []
    for walk in _WALKS:
        # One more than is shown: the last page says that it is the last.
        found += fetch_all(db, statement, {**parameters, "walk": walk, "limit": limit + 1 - len(found)})
        if len(found) > limit:
            return Listed(found[:limit], int(found[limit - 1]["contact_id"]))
        last = fetch_one(db, end, {**parameters, "walk": walk}) if end is not None else None
        if last is None:
            return Listed(found, None)
        parameters["after"] = int(next(iter(last.values())))
        if found and walk > _WALKS[0]:
            break
    return Listed(found, int(parameters["after"]))


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
        return _BY_EXCLUDED, _EXCLUDED_END
    if state in ("pending", "cancelled"):
        return (_BY_PENDING if state == "pending" else _BY_CANCELLED), _UNSENT_END
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
