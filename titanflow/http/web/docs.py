"""The page of the API's document: plain HTML made once, with no script at all."""

import re
from typing import Any

from markupsafe import Markup, escape

from titanflow.http.web.pages import render

_CODE = re.compile(r"`([^`]+)`")
_REF = "#/components/schemas/"


def page(document: dict[str, Any]) -> str:
    """Return the whole page."""
    tags: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            tags.setdefault(one["tags"][0], []).append({"path": path, "method": method.upper(), **one})
    shared = document["components"]["responses"]
    for one in (one for operations in tags.values() for one in operations):
        one["responses"] = {
            status: shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
            for status, answer in one["responses"].items()
        }
    return render(
        "docs.html", document=document, tags=tags, schemas=document["components"]["schemas"], type_of=type_of,
        rules_of=rules_of, name_of=name_of, schema_of=schema_of, prose=prose,
    )  # fmt: skip


def prose(text: str | None) -> Markup:
    """Return a text with its `code` marked up."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text or ""))))  # noqa: S704  (escaped just before)


def name_of(schema: dict[str, Any]) -> str | None:
    """Return the name of the component that a schema refers to."""
    reference = schema.get("$ref") or (schema.get("items") or {}).get("$ref") or ""
    return str(reference).removeprefix(_REF) or None


def schema_of(media: dict[str, Any]) -> str | None:
    """Return the name of the component that a body or answer is."""
    return name_of(media.get("schema", {}))


def type_of(schema: dict[str, Any]) -> str:
    """Return a schema's type as people say it."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REF)
    if "const" in schema:
        return repr(schema["const"]).replace("'", '"')
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(one) for one in schema[key]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(type_of(one) for one in schema["prefixItems"]) + "]"
        return f"list of {type_of(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_of(schema['additionalProperties'])}"
    return {"date-time": "time", "date": "date"}.get(str(schema.get("format")), str(kind))


_RULES = (
    ("minimum", "at least {}"), ("exclusiveMinimum", "above {}"), ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"), ("minLength", "at least {} characters"), ("maxLength", "at most {} characters"),
    ("minItems", "at least {}"), ("maxItems", "at most {}"), ("pattern", "like {}"), ("default", "{} if absent"),
)  # fmt: skip


def rules_of(schema: dict[str, Any]) -> str:
    """Return what else a value must be, as a sentence."""
    told = [f"one of {', '.join(str(one) for one in schema['enum'])}"] if "enum" in schema else []
    for one in (schema, *schema.get("anyOf", ())):
        told += [text.format(one[key]) for key, text in _RULES if one.get(key) is not None]
        if one is not schema and "enum" in one:
            told.append(f"one of {', '.join(str(value) for value in one['enum'])}")
    return "; ".join(told)
