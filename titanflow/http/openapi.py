"""The OpenAPI 3.1 document, made of the routes, their scopes, their docstrings and their @operation data."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import falcon
import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from titanflow.http import idempotency
from titanflow.http.contract import Content, Operation, operation_of
from titanflow.http.problem_codes import PROBLEM_CODES

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+)(?:\([^)]*\))?)?\}")
_PAGE = re.compile(r"\bPage_(\w+?)_\b")  # pydantic's name for a page of something
_ABOUT = """\
Sends WhatsApp campaigns through Meta's Cloud API and follows every message to its end.

JSON, snake_case, times in ISO 8601 UTC. Ids are opaque. Errors are RFC 9457 problem details: branch on `code`, show
`title` and `detail`. 429 and 503 carry `Retry-After`. A method that a path doesn't have is 405 with `Allow`; HEAD works
wherever GET does. 500 is a bug. Query parameters and members that aren't described are refused.
"""
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. Some codes have further members.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "/problems/ and the code"},
        "title": {"type": "string", "description": "What went wrong, for people"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "Why, and how to mend it"},
        "code": {"type": "string", "description": "Stable; branch on this"},
        "errors": {
            "type": "array",
            "description": "invalid_input: each member that can't be used",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": "Sent again with the same key, the request is carried out once and answered as the first time: 24 h",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_TAG = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of an earlier answer: 304 without a body if it still holds",
    "schema": {"type": "string"},
}
_INT_ID = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}

Route = tuple[str, type]


def described(routes: Iterable[Route]) -> list[tuple[str, str, type, Operation]]:
    """Return path, method, resource and description of every operation that has one."""
    return [
        (path, method, resource, found)
        for path, resource in routes
        for method in _METHODS
        if (found := operation_of(resource, method)) is not None
    ]


def undescribed(routes: Iterable[Route]) -> list[str]:
    """Return the methods and paths that have a responder but no description."""
    return [
        f"{method} {path}"
        for path, resource in routes
        for method in falcon.constants.COMBINED_METHODS
        if hasattr(resource, f"on_{method.lower()}") and operation_of(resource, method) is None
    ]


def example_path(path: str) -> str:
    """Return a path with a value in place of each parameter."""
    return _PARAMETER.sub("1", path)


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """Return the whole document as JSON-able data."""
    operations = described(routes)
    names, schemas = _schemas(found for _, _, _, found in operations)
    paths: dict[str, dict[str, Any]] = {}
    problems: dict[str, Any] = {}
    for path, method, resource, found in operations:
        shown = _PARAMETER.sub(r"{\1}", path)
        paths.setdefault(shown, {})[method.lower()] = _operation(path, method, resource, found, names)
        paths[shown][method.lower()]["responses"].update(
            _problems(codes_of(path, method, _scope(resource, method), found), problems)
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "TitanFlow", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`titanflow token create NAME --scope S`"},
            },
            "schemas": {"Problem": _PROBLEM, **schemas},
            "responses": problems,
        },
    }


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
    for one in operations:
        if isinstance(one.body, type):
            wanted[one.body, "validation"] = None
        for answer in one.answers.values():
            if isinstance(answer, type):
                wanted[answer, "serialization"] = None
    names, defined = models_json_schema(list(wanted), ref_template=_REF)
    renamed: dict[str, Any] = orjson.loads(_PAGE.sub(r"PageOf\1", orjson.dumps(defined).decode()))
    named = {key: {"$ref": _PAGE.sub(r"PageOf\1", ref["$ref"])} for key, ref in names.items()}
    return named, renamed.get("$defs", {})


def _operation(path: str, method: str, resource: type, found: Operation, names: dict[Any, Any]) -> dict[str, Any]:
    scope = _scope(resource, method)
    text = inspect.getdoc(getattr(resource, f"on_{method.lower()}")) or ""
    scopes: dict[str, str] = getattr(resource, "scopes", {})
    if len(scopes) == 1:  # the class is about this operation alone
        text = f"{inspect.getdoc(resource) or ''}\n\n{text}"
    shown: dict[str, Any] = {
        "operationId": _id(path, method),
        "tags": [_tag(path)],
        "summary": re.split(r"\. |\n", text.strip())[0].rstrip("."),
        "description": f"{text}\n\n" + (f"Scope: `{scope}`." if scope != "public" else "Public."),
        "security": [{"token": [scope]}] if scope != "public" else [],
        "responses": {str(status): _answer(answer, found, names) for status, answer in found.answers.items()},
    }
    parameters = [*_path_parameters(path), *_query_parameters(found), *_header_parameters(found)]
    if method == "POST" and scope not in ("public", "page"):
        parameters.append(_KEY)
    if method == "GET" and isinstance(found.answers.get(200), type):
        parameters.append(_TAG)
        shown["responses"]["304"] = {"description": "It is what If-None-Match names"}
    if parameters:
        shown["parameters"] = parameters
    if found.body is not None:
        shown["requestBody"] = _body(found.body, names)
    return shown


def _scope(resource: type, method: str) -> str:
    scopes: dict[str, str] = getattr(resource, "scopes", {})
    return scopes.get(method, "public")


def _id(path: str, method: str) -> str:
    words = re.sub(r"\W+", "_", _PARAMETER.sub(r"by_\1", path.removeprefix("/api/v1")))
    return f"{method.lower()}{words}"


def _tag(path: str) -> str:
    return path.removeprefix("/api").removeprefix("/v1").split("/")[1]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _INT_ID if kind == "int" else {"type": "string", "minLength": 1, "maxLength": 200},
        }
        for name, kind in _PARAMETER.findall(path)
    ]


def _query_parameters(found: Operation) -> list[dict[str, Any]]:
    if found.query is None:
        return []
    schema = found.query.model_json_schema(ref_template=_REF)
    shown = []
    for name, one in schema.get("properties", {}).items():
        options = [option for option in one.pop("anyOf", []) if option != {"type": "null"}]
        one.update(options[0] if len(options) == 1 else {"anyOf": options} if options else {})
        if one.get("default", ...) is None:
            del one["default"]
        one.pop("title", None)
        text = one.pop("description", "")
        required = name in schema.get("required", [])
        shown.append({"name": name, "in": "query", "required": required, "description": text, "schema": one})
    return shown


def _header_parameters(found: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in found.headers.items()
    ]


def _body(body: type[BaseModel] | Content, names: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(body, Content):
        content = {media_type: _raw_schema(media_type, body) for media_type in body.media_types}
        return {"required": body.required, "description": body.description, "content": content}
    required = any(field.is_required() for field in body.model_fields.values())
    return {"required": required, "content": {"application/json": {"schema": names[body, "validation"]}}}


def _answer(answer: type[BaseModel] | Content | None, found: Operation, names: dict[Any, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": "Done"}
    if found.answer_headers:
        shown["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in found.answer_headers.items()
        }
    if isinstance(answer, Content):
        shown["description"] = answer.description or "Done"
        shown["content"] = {media_type: _raw_schema(media_type, answer) for media_type in answer.media_types}
    elif answer is not None:
        shown["description"] = (inspect.getdoc(answer) or "Done").split("\n")[0]
        shown["content"] = {"application/json": {"schema": names[answer, "serialization"]}}
    return shown


def _raw_schema(media_type: str, content: Content) -> dict[str, Any]:
    if media_type == "multipart/form-data":
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        return {"schema": {"type": "object", "required": ["file"], "properties": {"file": file}}}
    return {"schema": {"type": "string"}} | ({"example": content.example} if content.example else {})


def codes_of(path: str, method: str, scope: str, found: Operation) -> list[str]:
    """Return every code with which an operation may answer, its own and the common ones."""
    codes = ["unavailable", "storage_unavailable", "starting", *found.problems]
    if scope != "public":
        codes += ["unauthorized", "forbidden", "csrf", "not_acceptable", "too_many_requests", "invalid_input"]
    if method == "POST" and scope not in ("public", "page"):
        codes += idempotency.PROBLEMS
    if _PARAMETER.search(path):
        codes.append("not_found")
    if found.query is not None or "}" in path:
        codes.append("uri_too_long")
    if isinstance(found.body, type):
        codes += ["invalid_json", "invalid_input", "too_large", "unsupported_media_type"]
    return sorted(set(codes), key=codes.index)


def _problems(codes: Iterable[str], shared: dict[str, Any]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_CODES[code].status, []).append(code)
    shown = {}
    for status, of_status in sorted(by_status.items()):
        name = "-".join(sorted(of_status))
        shared[name] = {
            "description": "; ".join(f"`{code}`: {PROBLEM_CODES[code].means}" for code in of_status),
            "content": {
                "application/problem+json": {
                    "schema": {
                        "allOf": [{"$ref": "#/components/schemas/Problem"}],
                        "properties": {"code": {"enum": of_status}, "status": {"const": status}},
                    }
                }
            },
        }
        shown[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return shown
