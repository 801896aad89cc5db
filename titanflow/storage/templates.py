"""Templates as the API shows them."""

from typing import Any

import orjson

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one


def upsert(db: Database, waba_id: str, templates: list[dict[str, Any]]) -> int:
    """Insert or update templates of an account by name and language. Returns how many."""
    with db.connection() as connection:
        return connection.execute(
            "INSERT INTO templates AS known (waba_id, meta_template_id, name, language, status, category, quality,"
            " parameter_format, components)"
            " SELECT %(waba_id)s, one->>'id', one->>'name', one->>'language', one->>'status', one->>'category',"
            " coalesce(one->'quality_score'->>'score', 'UNKNOWN'), coalesce(one->>'parameter_format', 'POSITIONAL'),"
            " coalesce(one->'components', '[]') FROM jsonb_array_elements(%(templates)s::jsonb) AS one"
            " ON CONFLICT (waba_id, name, language) DO UPDATE SET meta_template_id = EXCLUDED.meta_template_id,"
            " status = EXCLUDED.status, category = EXCLUDED.category, quality = EXCLUDED.quality,"
            " parameter_format = EXCLUDED.parameter_format, components = EXCLUDED.components, updated_at = now()",
            {"waba_id": waba_id, "templates": orjson.dumps(templates).decode()},
        ).rowcount


def get(db: Database, template_id: int) -> dict[str, Any] | None:
    """Return one template."""
    return fetch_one(
        db,
        "SELECT id, waba_id, name, language, status, category, quality, parameter_format, components, updated_at"
        " FROM templates WHERE id = %(id)s",
        {"id": template_id},
    )


def page(db: Database, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return templates by id, each with the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT (SELECT count(*) FROM templates) AS total, id, waba_id, name, language, status, category, quality,"
        " parameter_format, components, updated_at"
        " FROM templates WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )
