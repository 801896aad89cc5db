"""Template sync on request: all accounts in parallel; one that fails costs only itself."""

from typing import Any

from titanflow.actors.node.meta_sync import TIMEOUT_S, MetaQuestions
from titanflow.domain.rendering import parameters
from titanflow.domain.vault import Vault
from titanflow.errors import TitanFlowError
from titanflow.settings import Settings
from titanflow.storage import meta_syncs
from titanflow.storage.database import Database
from titanflow.supervision import TaskDone, async_stream, via

_AT_ONCE = 5


def sync(db: Database, vault: Vault, settings: Settings) -> dict[str, Any]:
    """Read the templates of all accounts from Meta. Returns {"synced", "wabas": [{"waba_id", "synced", "error"}]}."""
    questions = MetaQuestions(db, vault, settings.meta_graph_url, settings.meta_api_version)

    def one(waba_id: str) -> dict[str, Any]:
        try:
            return {"waba_id": waba_id, "synced": questions.templates(waba_id), "error": None}
        except TitanFlowError as error:
            return {"waba_id": waba_id, "synced": 0, "error": error.one_line()}

    accounts = [account["waba_id"] for account in meta_syncs.accounts(db)]
    results = async_stream(
        via("tasks"), one, accounts, max_concurrency=_AT_ONCE, timeout_ms=TIMEOUT_S * 1000, on_timeout="kill_task"
    )
    wabas = []
    for waba_id, result in zip(accounts, results, strict=True):
        late = {"waba_id": waba_id, "synced": 0, "error": f"no answer within {TIMEOUT_S} s"}
        wabas.append(result.value if isinstance(result, TaskDone) else late)
    return {"synced": sum(one["synced"] for one in wabas), "wabas": wabas}


def shown(template: dict[str, Any]) -> dict[str, Any]:
    """A template as the API shows it: with the names of its parameters."""
    return {**template, "parameters": list(parameters(template["components"]))}
