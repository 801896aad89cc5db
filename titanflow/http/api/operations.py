"""/supervision, /nodes, /tokens: for operators."""

from datetime import UTC, datetime, timedelta

import falcon
import structlog
from pydantic import Field

from titanflow.errors import Conflict, NotFound, Unavailable
from titanflow.http.answers import things as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import Page, operation
from titanflow.services import tokens as service
from titanflow.storage import reports, tokens
from titanflow.supervision import KILL, ProcessInfo, exit_process, observe, process_of

log = structlog.get_logger()


class Supervision:
    """Answer the running tree of this node."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.SupervisionTree)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer the tree as it is now."""
        tree = observe(self._context.root)
        if tree is None:
            raise Unavailable("The tree is stopping")
        response.media = tree.as_dict()


class RestartProcess:
    """Let one process of this node crash, so that its supervisor starts it anew."""

    scopes = {"POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.ProcessRestarted, status=202, problems=("process_not_found", "not_restartable"))
    def on_post(self, request: falcon.Request, response: falcon.Response, pid: int) -> None:
        """Kill it as a crash would. 404 process_not_found once it is gone, 409 not_restartable if nobody would."""
        tree = observe(self._context.root)
        found = _below(tree, pid) if tree else None
        process = process_of(pid)
        if found is None or process is None:
            raise NotFound(f"There is no process {pid}", fix="See /supervision.", code="process_not_found")
        parent, info = found
        if parent is None or parent.kind == "TaskSupervisor":
            raise Conflict(f"Nobody would start process {pid} again", code="not_restartable", kind=info.kind)
        log.warning("actor.restart_asked", actor=info.kind, pid=pid, name=info.name, by=request.context.who)
        exit_process(process, KILL)
        response.status = 202
        response.media = {"pid": pid, "kind": info.kind, "name": info.name}


def _below(
    info: ProcessInfo, pid: int, parent: ProcessInfo | None = None
) -> tuple[ProcessInfo | None, ProcessInfo] | None:
    if info.pid == pid:
        return parent, info
    return next((found for child in info.children if (found := _below(child, pid, info))), None)


class Nodes:
    """List the living nodes and what they own."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Node])
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer nodes with their leases."""
        items = reports.nodes(self._context.db)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}


class NewToken(Body):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=100)
    scope: str = Field(pattern="^(read|send|admin)$")
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class Tokens:
    """List and create."""

    scopes = {"GET": "admin", "POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Token])
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all tokens, without anything that could be used."""
        items = tokens.list_all(self._context.db)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}

    @operation(answers.TokenMade, status=201, body=NewToken)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make a token; this is the only time it is shown."""
        body = read_json(request, NewToken)
        response.status = 201
        ends = datetime.now(UTC) + timedelta(days=body.expires_in_days) if body.expires_in_days else None
        token = service.create(self._context.db, body.name, body.scope, expires_at=ends)
        response.media = {"name": body.name, "token": token, "expires_at": ends}


class Token:
    """Revoke a token."""

    scopes = {"DELETE": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(status=204, problems=("token_not_found",))
    def on_delete(self, _: falcon.Request, response: falcon.Response, token_id: int) -> None:
        """It takes effect within a second, in all processes."""
        if not tokens.revoke(self._context.db, token_id):
            raise NotFound(f"There is no token {token_id}", code="token_not_found")
        response.status = 204


ROUTES = [
    ("/supervision", Supervision),
    ("/supervision/{pid:int}/restart", RestartProcess),
    ("/nodes", Nodes),
    ("/tokens", Tokens),
    ("/tokens/{token_id:int}", Token),
]
