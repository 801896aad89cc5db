"""What an operation of the API takes and answers, as data next to its code; the OpenAPI document is made of it.

A responder says it with `@operation(...)`. The same data is what requests are checked by, so that the document and the
behaviour can't differ: query parameters by the middleware here, which refuses those that are not declared, and bodies
by `read_json`, which takes no other model than the declared one. That answers are what is declared is checked by the
HTTP tests (tests/support/conformance.py) and by the fuzzer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import falcon
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from titanflow.errors import InvalidInput, NotFound

T = TypeVar("T")
Q = TypeVar("Q", bound="Query")
R = TypeVar("R", bound=Callable[..., None])


class Answer(BaseModel):
    """Base of all JSON answers: it names every member. Only the document and tests use it, no request pays for it."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[T]):
    """A page of a list. next_cursor: what ?cursor= takes for the next one, null at the end. total: of all pages."""

    items: list[T]
    next_cursor: str | None
    total: int


def _digits(given: object) -> object:
    if isinstance(given, str) and not re.fullmatch(r"-?[0-9]{1,18}", given):
        raise ValueError("it must be a whole number")
    return given


def _without_nul(given: str) -> str:
    if "\x00" in given:
        raise ValueError("it must not have NUL characters")
    return given


def _true_or_false(given: object) -> object:
    if isinstance(given, str) and given not in ("true", "false"):
        raise ValueError("it must be true or false")
    return given


def _iso(given: object) -> object:
    if isinstance(given, str) and not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", given):
        raise ValueError("write it as 2026-12-01T09:00:00Z; a plus in a URL is %2B")  # pydantic takes numbers, too
    return given


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
Int = Annotated[int, BeforeValidator(_digits)]  # a query's: pydantic takes "1_0" and " 1.0" for numbers
Time = Annotated[AwareDatetime, BeforeValidator(_iso)]
Text = Annotated[str, AfterValidator(_without_nul), Field(min_length=1, max_length=200)]


class Query(BaseModel):
    """Base of query parameters, each given at most once."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class ListQuery(Query):
    """What every list takes."""

    limit: Int = Field(default=50, ge=1, le=500, description="How many items at most")
    cursor: str = Field(default="0", pattern=r"^[0-9]{1,18}$", description="next_cursor of the page before")


@dataclass(frozen=True, slots=True)
class Content:
    """A body or an answer that is no JSON. media_types: the first is the usual one."""

    media_types: tuple[str, ...]
    description: str = ""
    required: bool = True
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. answers: status -> model, Content, or None for an empty one."""

    answers: Mapping[int, type[BaseModel] | Content | None]
    query: type[Query] | None = None
    body: type[BaseModel] | Content | None = None
    problems: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_headers: Mapping[str, str] = field(default_factory=dict)


def operation(
    answer: type[BaseModel] | Content | None = None,
    *,
    status: int = 200,
    also: Mapping[int, type[BaseModel] | Content | None] | None = None,
    query: type[Query] | None = None,
    body: type[BaseModel] | Content | None = None,
    problems: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    answer_headers: Mapping[str, str] | None = None,
) -> Callable[[R], R]:
    """Describe a responder. Its docstring is the text; path parameters, scope and common errors are known anyway.

    answer, status: what success looks like; also: other successes. problems: the codes (http/problem_codes.py) that
    this operation has beside the common ones. headers, answer_headers: name -> what it means.
    """
    made = Operation(
        {status: answer, **(also or {})}, query, body, problems, dict(headers or {}), dict(answer_headers or {})
    )

    def describe(responder: R) -> R:
        responder.operation = made  # type: ignore[attr-defined]  # functions take attributes
        return responder

    return describe


def operation_of(resource: object, method: str) -> Operation | None:
    """Return how a resource describes a method."""
    found: Operation | None = getattr(getattr(resource, f"on_{method.lower()}", None), "operation", None)
    return found


def query_of(request: falcon.Request, model: type[Q]) -> Q:
    """Return the request's query parameters, which have been checked by the operation's own model."""
    query = request.context.query
    assert isinstance(query, model), f"{request.uri_template} declares no query={model.__name__}"
    return query


class Contract:
    """Runs after authentication: refuses what the operation doesn't take before its responder sees it."""

    def process_resource(self, request: falcon.Request, _: falcon.Response, resource: Any, parameters: Any) -> None:
        """Check path, Accept and query. Raises NotFound, InvalidInput (406 or 422)."""
        found = operation_of(resource, request.method)
        request.context.operation = found
        if found is None or getattr(resource, "scopes", {}).get(request.method) == "public":
            return  # Meta and load balancers may add to a URL what they like
        for value in parameters.values():
            if isinstance(value, str) and ("\x00" in value or "\ufffd" in value):
                raise NotFound("There is no such thing", why="the path has characters that no id has")
        _check_accept(request, found)
        request.context.query = _checked_query(request, found.query or Query)


def _check_accept(request: falcon.Request, found: Operation) -> None:
    accept = request.get_header("Accept")
    if not accept or "*/*" in accept:
        return
    offered = [
        media_type
        for answer in found.answers.values()
        for media_type in (answer.media_types if isinstance(answer, Content) else ("application/json",))
    ]
    if not any(request.client_accepts(one) for one in (*offered, "application/problem+json")):
        fix = f"Accept {' or '.join(dict.fromkeys(offered))}."
        raise InvalidInput("The answer has no such form", fix=fix, code="not_acceptable", status=406)


def _checked_query(request: falcon.Request, model: type[Query]) -> Query:
    for name, value in request.params.items():
        if isinstance(value, list):
            raise InvalidInput(f"{_short(name)} is given more than once", fix="Give it once.")
    try:
        return model.model_validate(request.params)
    except ValidationError as error:
        errors = [
            {"field": ".".join(str(part) for part in one["loc"])[:100], "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        known = ", ".join(one.alias or name for name, one in model.model_fields.items()) or "none"
        summary = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:3])
        raise InvalidInput(
            "A query parameter can't be used", why=summary, fix=f"This takes: {known}.", errors=errors
        ) from None


def _short(name: str) -> str:
    return repr(name[:40])
