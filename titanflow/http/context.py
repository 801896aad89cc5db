"""What every resource is made with."""

from dataclasses import dataclass

from titanflow.domain.vault import Vault
from titanflow.settings import Settings
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import Pid


@dataclass(frozen=True, slots=True)
class Context:
    """db: the pool for web requests. root: the supervision tree of this node."""

    settings: Settings
    db: Database
    fast_copy: FastCopy
    vault: Vault
    root: Pid
