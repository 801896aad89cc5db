"""What schemathesis loads before it fuzzes: every second id in a path is one that exists, most keys are new."""

import itertools
import re
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

FIRST, CAMPAIGNS, DOOMED = 1001, 8, 20  # the ids of campaigns on the stage; the last ones may be deleted
PERSON = "4915112345678"
_KNOWN = {"number": ["2001"], "phone": [PERSON, f"+{PERSON}", "4915112345679"]}
# Whom it erases, and which number it deletes: the others are still needed.
_DELETED = {("number", False): ["2002"], ("phone", True): ["4915112345699"]}
_requests = itertools.count(1)
_NAMED: dict[str, list[object]] = {"template_ids": [1], "phone_number_ids": ["2001"]}
_NUMBERED = ("import_id", "rehearsal_id", "alarm_id", "media_id", "template_id", "message_id", "faq_id")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put a known id in place of every second one that is good for its schema."""
    if case.meta is not None and getattr(case.meta.phase.data, "parameter", None) == "Authorization":
        return  # it is left out on purpose; an edit would let schemathesis send it all the same
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key) and (number := next(_requests)) % 8:
        case.headers["Idempotency-Key"] = f"{number}"  # else nearly all say that the key was used for something else
    deletes = case.method.upper() == "DELETE"
    for name, value in (case.path_parameters or {}).items():
        if isinstance(value, int) and 0 < value < 2**63 and value % 2:
            if name == "campaign_id":
                known = CAMPAIGNS + value // 2 % DOOMED if deletes else value // 2 % CAMPAIGNS
                case.path_parameters[name] = FIRST + known
            elif name in _NUMBERED:
                case.path_parameters[name] = value // 2 % 3 + 1
        elif name in _KNOWN and isinstance(value, str) and len(value) % 2:
            known_ids = _DELETED.get((name, case.path.endswith("/contacts/{phone}"))) if deletes else None
            known_ids = known_ids or _KNOWN[name]
            case.path_parameters[name] = known_ids[len(value) // 2 % len(known_ids)]
    if isinstance(case.body, dict) and case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        for name, ids in _NAMED.items():
            if isinstance(case.body.get(name), list) and case.body[name] and next(_requests) % 2:
                case.body = {**case.body, name: ids}
