"""Template sync: all accounts in parallel; one that fails costs only itself."""

from typing import Any

from titanflow.domain.rendering import parameters
from titanflow.domain.vault import Vault
from titanflow.errors import TitanFlowError
from titanflow.meta.management import Management
from titanflow.settings import Settings
from titanflow.storage import phone_numbers, templates
from titanflow.storage.database import Database
from titanflow.supervision import TaskDone, async_stream, via

_AT_ONCE = 5
_TIMEOUT_MS = 30_000


def sync(db: Database, vault: Vault, settings: Settings) -> dict[str, Any]:
    """Read the templates of all accounts from Meta. Returns {"synced", "wabas": [{"waba_id", "synced", "error"}]}."""

    def one(account: dict[str, Any]) -> dict[str, Any]:
        meta = Management(
            settings.meta_graph_url, settings.meta_api_version, vault.decrypt(bytes(account["access_token"]))
        )
        try:
            count = templates.upsert(db, account["waba_id"], meta.templates(account["waba_id"]))
            return {"waba_id": account["waba_id"], "synced": count, "error": None}
        except TitanFlowError as error:
            return {"waba_id": account["waba_id"], "synced": 0, "error": error.one_line()}
        finally:
            meta.close()

    accounts = phone_numbers.access(db)
    results = async_stream(
        via("tasks"), one, accounts, max_concurrency=_AT_ONCE, timeout_ms=_TIMEOUT_MS, on_timeout="kill_task"
    )
    wabas = []
    for account, result in zip(accounts, results, strict=True):
        late = {"waba_id": account["waba_id"], "synced": 0, "error": f"no answer within {_TIMEOUT_MS // 1000} s"}
        wabas.append(result.value if isinstance(result, TaskDone) else late)
    return {"synced": sum(one["synced"] for one in wabas), "wabas": wabas}


def shown(template: dict[str, Any]) -> dict[str, Any]:
    """A template as the API shows it: with the names of its parameters."""
    return {**template, "parameters": list(parameters(template["components"]))}
