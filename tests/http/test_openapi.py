"""The OpenAPI document: whole, valid, and the same as what the app does."""

import ast
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.conformance import Conformance
from titanflow.http import openapi
from titanflow.http.app import API_ROUTES, WEB_ROUTES
from titanflow.http.problem_codes import PROBLEM_CODES, markdown
from titanflow.http.web import docs

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(API_ROUTES, version="0")


def test_every_operation_of_the_app_is_described() -> None:
    """An endpoint that fails here needs `@operation(...)`: docs/architecture.md says how."""
    assert openapi.undescribed(API_ROUTES) == []


def test_the_document_has_nothing_that_the_app_has_not(document: dict[str, Any]) -> None:
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}

    assert len(described) == len(openapi.described(API_ROUTES))
    assert not {path for path, _ in WEB_ROUTES} & set(document["paths"])


def test_operation_ids_are_unique_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))

    for reference in _references(document):
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind], reference


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def test_every_scope_is_one_and_no_operation_forgets_it() -> None:
    """Authentication takes a method without a scope for a public one."""
    for path, method, resource, _ in openapi.described(API_ROUTES):
        assert resource.scopes[method] in ("public", "read", "send", "admin"), f"{method} {path}"  # type: ignore[attr-defined]


def test_every_code_of_the_source_is_in_the_table_and_the_other_way_round() -> None:
    named = _codes_of_the_source()

    assert named - set(PROBLEM_CODES) == set()
    assert set(PROBLEM_CODES) - named - {"starting"} == set()


def test_the_table_of_codes_in_the_docs_is_the_one_of_the_code() -> None:
    assert markdown() in (_ROOT / "docs/api.md").read_text(), f"docs/api.md needs this table:\n\n{markdown()}"


def test_the_page_names_every_operation_and_runs_nothing(document: dict[str, Any]) -> None:
    page = docs.page(document)

    for path in document["paths"]:
        assert path in page
    assert "<script" not in page
    assert "style=" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_judge_of_answers_sees_what_is_wrong(document: dict[str, Any]) -> None:
    judge = Conformance(document)
    good = b'{"items":[],"next_cursor":null,"total":0}'

    judge.judge("GET", "/api/v1/campaigns?limit=1", 200, "application/json", good)
    judge.judge("GET", "/api/v1/nonsense", 404, "application/problem+json", b'{"code":"not_found"}')
    assert judge.faults == []

    judge.judge("GET", "/api/v1/campaigns", 200, "application/json", good.replace(b"null", b"1"))
    judge.judge("GET", "/api/v1/campaigns", 200, "application/json", good.replace(b'"total"', b'"sum"'))
    judge.judge("GET", "/api/v1/campaigns", 418, "application/json", good)
    judge.judge("GET", "/api/v1/campaigns", 200, "text/html", good)
    judge.judge("GET", "/api/v1/nonsense", 200, "application/json", good)
    assert len(judge.faults) >= 5


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [one for value in schema.values() for one in _references(value)]
    if isinstance(schema, list):
        return [one for value in schema for one in _references(value)]
    return []


def _codes_of_the_source() -> set[str]:
    """Every code=... of a call, and every class's own, in what can reach a client of the API."""
    found: set[str] = set()
    for layer in ("http", "services", "actors", "storage", "meta", "errors.py"):
        for file in _files(_ROOT / "titanflow" / layer):
            if file.name == "problem_codes.py":
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    found |= {
                        one.value.value
                        for one in node.keywords
                        if one.arg == "code"
                        and isinstance(one.value, ast.Constant)
                        and isinstance(one.value.value, str)
                    }
    return found | _codes_by_hand()


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _codes_by_hand() -> set[str]:
    """Classes' codes, Falcon's statuses, and the campaign's gaps, which the source names in tables."""
    from titanflow import errors
    from titanflow.http import problems
    from titanflow.http.problem_codes import INCOMPLETE

    classes = {kind.code for kind, _ in problems.STATUSES} | {errors.StorageUnavailable.code}
    return classes | set(problems.LIBRARIES.values()) | set(INCOMPLETE) | {"internal", "bad_request", "starting"}
