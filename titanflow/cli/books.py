"""The promises of a finished run, checked: the server's books beside the sandbox's ledger."""

import json
from dataclasses import dataclass
from typing import Any

from titanflow.cli.api_client import ApiClient

_AFTER_SENDING = {"sent", "delivered", "read", "failed"}
_RANK = {"sent": 1, "failed": 2, "delivered": 3, "read": 4}  # Meta's: a status only climbs


@dataclass(frozen=True, slots=True)
class Books:
    """audit: the server's recount. promises: each with whether it held."""

    audit: dict[str, Any]
    sandbox: dict[str, Any]
    promises: dict[str, bool]

    @property
    def held(self) -> bool:
        """True if every promise held."""
        return all(self.promises.values())


def compare(api: ApiClient, meta: ApiClient, campaign_id: int, *, max_mps: dict[str, int]) -> Books:
    """Compare every contact's state with what the sandbox accepted."""
    audit = api.get(f"/api/v1/campaigns/{campaign_id}/audit")
    summary = meta.get("/_sandbox/summary")
    accepted: dict[int, int] = {}  # log id -> rank of the highest status that the server acknowledged
    for line in meta.lines("/_sandbox/ledger"):
        entry = json.loads(line)
        kind, log_id, _ = str(entry["echo"]).split(":")
        if kind == "m":
            accepted[int(log_id)] = max((_RANK[one] for one in entry["acknowledged"]), default=0)
    lost = unknown = forgotten = wrongly_in_doubt = never_sent_in_doubt = 0
    known: set[int] = set()
    for line in api.lines(f"/api/v1/campaigns/{campaign_id}/export?format=ndjson"):
        row = json.loads(line)
        log_id, state = row["log_id"], row["state"]
        if log_id is not None:
            known.add(log_id)
        lost += _RANK.get(state, 0) < accepted.get(log_id, 0)
        if log_id in accepted and state == "in_doubt":
            wrongly_in_doubt += 1
        elif log_id in accepted and state not in _AFTER_SENDING:
            unknown += 1
        elif log_id not in accepted and state == "in_doubt":
            never_sent_in_doubt += 1
        elif log_id not in accepted and state not in ("excluded", "cancelled", "failed"):
            forgotten += 1
    counts = audit["counts"]
    rates = summary["max_rate_1s_by_number"]
    promises = {
        "the books balance": audit["balanced"] and not unknown and not accepted.keys() - known,
        "nobody gets it twice": not summary["accepted_twice"]
        and not summary["accepted_twice_by_person"]
        and audit["duplicates"] == 0,
        "nobody is forgotten": not forgotten and not any(counts[one] for one in ("pending", "claimed", "retrying")),
        "in doubt only what Meta never took": wrongly_in_doubt == 0,
        "counters are exact": audit["counter_drift"] == 0,
        "limits are kept": all(rates.get(number, 0) <= mps + 1 for number, mps in max_mps.items())
        and audit["budget_drift"] == 0,
        "no acknowledged webhook is lost": summary["webhooks"]["pending"] == 0 and not lost,
        "forged webhooks are refused": not summary["webhooks"].get("forged_accepted"),
    }
    sandbox = {
        "accepted": summary["accepted"],
        "accepted_twice": summary["accepted_twice"] + summary["accepted_twice_by_person"],
        "never_attempted": forgotten,
        "never_sent_in_doubt": never_sent_in_doubt,
        "acknowledged_lost": lost,
        "max_rate_1s": summary["max_rate_1s"],
        "worst_lag_ms": summary["worst_lag_ms"],
        "faults": summary["faults"],
        "refused": summary["refused"],
        "span_s": (summary["last_accepted_at"] or 0) - (summary["first_accepted_at"] or 0),
    }
    return Books(audit, sandbox, promises)
