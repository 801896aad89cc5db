"""Templates as the API shows them."""

from datetime import datetime
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

_UPSERT = """
    WITH listed AS MATERIALIZED (
        -- Meta may list a deleted template beside the new one of its name: the one that can be sent counts.
        SELECT DISTINCT ON (one->>'name', one->>'language') one
        FROM jsonb_array_elements(%(templates)s::jsonb) AS one
        ORDER BY one->>'name', one->>'language', one->>'status' = 'APPROVED' DESC
    )
    INSERT INTO templates AS known (waba_id, meta_template_id, name, language, status, category, quality,
                                    parameter_format, components)
    SELECT %(waba_id)s, one->>'id', one->>'name', one->>'language', coalesce(one->>'status', 'UNKNOWN'),
           coalesce(one->>'category', 'MARKETING'), coalesce(one->'quality_score'->>'score', 'UNKNOWN'),
           CASE WHEN one->>'parameter_format' = 'NAMED' THEN 'NAMED' ELSE 'POSITIONAL' END,
           CASE WHEN jsonb_typeof(one->'components') = 'array' THEN one->'components' ELSE '[]' END
    FROM listed
    ON CONFLICT (waba_id, name, language) DO UPDATE
    SET meta_template_id = coalesce(EXCLUDED.meta_template_id, known.meta_template_id),
        -- News that came while the list was on its way is newer than the list; a refusal outweighs it for a while.
        status = CASE WHEN known.updated_at > coalesce(%(asked_at)s, now()) THEN known.status
                      WHEN EXCLUDED.status = 'APPROVED' AND known.refused_until > now() THEN known.status
                      ELSE EXCLUDED.status END,
        category = EXCLUDED.category, quality = EXCLUDED.quality, parameter_format = EXCLUDED.parameter_format,
        components = EXCLUDED.components, updated_at = now()
"""

# Whoever changes an account's templates by news locks this first, too: so the two never deadlock.
_LOCK = "SELECT FROM meta_syncs WHERE subject = 'templates' AND key = %(waba_id)s FOR UPDATE"

_MISSING = """
    UPDATE templates SET status = 'DELETED', updated_at = now()
    WHERE waba_id = %(waba_id)s AND meta_template_id IS NOT NULL AND status <> 'DELETED'
      AND updated_at <= %(asked_at)s
      AND NOT EXISTS (SELECT FROM jsonb_array_elements(%(templates)s::jsonb) AS one
                      WHERE one->>'name' = name AND one->>'language' = language)
"""

# A template that is approved again doesn't resume anything, but whoever looks at the campaign must see it.
_TELL_CAMPAIGNS = """
    UPDATE campaigns AS campaign
    SET state_reason = %(no_template)s || ' ' || %(back)s, updated_at = now()
    WHERE campaign.state = 'paused' AND campaign.state_by = 'engine'
      AND campaign.state_reason LIKE %(no_template)s || '%%' AND campaign.state_reason NOT LIKE '%%' || %(back)s
      AND EXISTS (SELECT FROM campaign_templates AS link JOIN templates AS template ON template.id = link.template_id
                  WHERE link.campaign_id = campaign.id AND template.waba_id = %(waba_id)s
                    AND template.status = 'APPROVED')
"""

# How the engine says that it has run out of templates; what it is told when one comes back.
NO_TEMPLATE_LEFT = "No approved template is left"
_BACK = "was the reason; one is approved again now. Resume to go on."


def now(db: Database) -> datetime:
    """Return PostgreSQL's time: when a list was asked for."""
    row = fetch_one(db, "SELECT clock_timestamp() AS at", {})
    assert row is not None
    moment: datetime = row["at"]
    return moment


def upsert(db: Database, waba_id: str, templates: list[dict[str, Any]]) -> int:
    """Insert or update templates of an account by name and language. Returns how many."""
    with db.connection() as connection:
        return connection.execute(_UPSERT, _parameters(waba_id, templates, None)).rowcount


def replace(db: Database, waba_id: str, templates: list[dict[str, Any]], *, asked_at: datetime) -> int:
    """Make an account's templates what Meta listed: all of them; what is missing there is DELETED. Returns how many.

    asked_at: PostgreSQL's time before the list was asked for.
    """
    parameters = _parameters(waba_id, templates, asked_at)
    with db.transaction() as transaction:
        transaction.execute(_LOCK, parameters)
        count = transaction.execute(_UPSERT, parameters).rowcount
        transaction.execute(_MISSING, parameters)
        told = {"waba_id": waba_id, "no_template": NO_TEMPLATE_LEFT, "back": _BACK}
        transaction.execute(_TELL_CAMPAIGNS, told)
    return count


def _parameters(waba_id: str, templates: list[dict[str, Any]], asked_at: datetime | None) -> dict[str, Any]:
    usable = [one for one in templates if all(_is_word(one.get(key)) for key in ("name", "language"))]
    return {"waba_id": waba_id, "templates": Jsonb(usable, dumps=_dumps), "asked_at": asked_at}


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512 and "\x00" not in value


def _dumps(value: Any) -> str:
    # NUL is the one character that jsonb refuses; it has no business in a template.
    return orjson.dumps(value).decode().replace("\\u0000", "")


def get(db: Database, template_id: int) -> dict[str, Any] | None:
    """Return one template."""
    return fetch_one(
        db,
        "SELECT id, waba_id, name, language, status, category, quality, parameter_format, components, updated_at"
        " FROM templates WHERE id = %(id)s",
        {"id": template_id},
    )


def find(
    db: Database, *, template_id: int | None, waba_id: str, name: str | None, language: str | None
) -> dict[str, Any] | None:
    """Return a template by id, or by name and language within an account."""
    if template_id is not None:
        return get(db, template_id)
    row = fetch_one(
        db,
        "SELECT id FROM templates WHERE waba_id = %(waba_id)s AND name = %(name)s AND language = %(language)s",
        {"waba_id": waba_id, "name": name, "language": language},
    )
    return get(db, row["id"]) if row else None


def page(db: Database, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return templates by id, each with the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT (SELECT count(*) FROM templates) AS total, id, waba_id, name, language, status, category, quality,"
        " parameter_format, components, updated_at"
        " FROM templates WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )
