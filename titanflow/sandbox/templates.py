"""Templates as this Meta has them: what they expect, how they are created, paced, paused and removed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from titanflow.sandbox.errors import Refusal

if TYPE_CHECKING:
    from titanflow.sandbox.lives import Life

PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
STATUSES = (
    "PENDING", "APPROVED", "REJECTED", "PAUSED", "DISABLED", "IN_APPEAL", "PENDING_DELETION", "DELETED",
    "LIMIT_EXCEEDED", "ARCHIVED",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9_]{1,512}")
_LONGEST = {"HEADER": 60, "BODY": 1024, "FOOTER": 60}
_LONGEST_BUTTON = 25
_MOST_BUTTONS = 10
_MOST_TEMPLATES = 250
_WORDS_A_VARIABLE = 2

_BUTTON_URL = "https://shop.example.com/{{1}}"
_STARTERS: list[dict[str, Any]] = [
    {
        "name": "spring_offer",
        "language": "en_US",
        "components": [
            {"type": "BODY", "text": "Hi {{1}}, your code {{2}} is waiting. See you in {{3}}!"},
            {"type": "FOOTER", "text": "Reply STOP to opt out"},
        ],
    },
    {
        "name": "spring_offer_named",
        "language": "en_US",
        "parameter_format": "NAMED",
        "components": [
            {"type": "BODY", "text": "Hi {{first_name}}, see you in {{city}}!"},
            {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Shop", "url": _BUTTON_URL}]},
        ],
    },
    {
        "name": "spring_offer_picture",
        "language": "en_US",
        "components": [
            {"type": "HEADER", "format": "IMAGE"},
            {"type": "BODY", "text": "Hi {{1}}!"},
            {"type": "BUTTONS", "buttons": [{"type": "COPY_CODE", "example": "SPRING26"}]},
        ],
    },
]


@dataclass
class Pacing:
    """Of a template: so many messages pass, the next ones are held until they are released or dropped."""

    threshold: int
    passed: int = 0
    held: list["Life"] = field(default_factory=list)


@dataclass(eq=False)
class Template:
    """A template. expected: which parameters a message must bring."""

    id: str
    name: str
    language: str
    components: list[dict[str, Any]]
    status: str = "APPROVED"
    category: str = "MARKETING"
    parameter_format: str = "POSITIONAL"
    quality: str = "GREEN"
    rejected_reason: str = "NONE"
    pacing: Pacing | None = None
    expected: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expected = _expected(self.components)

    def edit(self, components: list[dict[str, Any]]) -> None:
        """Change what it says: messages made for the old text meet 132000 or 132012 from now on."""
        self.components, self.expected = components, _expected(components)

    def as_graph(self) -> dict[str, Any]:
        """As the Graph API lists it."""
        return {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "parameter_format": self.parameter_format,
            "quality_score": {"score": self.quality, "date": 1_795_000_000},
            "rejected_reason": self.rejected_reason,
            "components": self.components,
        }

    def status_event(self, event: str, **more: Any) -> dict[str, Any]:
        """The value of a message_template_status_update."""
        return {
            "event": event,
            "message_template_id": int(self.id),
            "message_template_name": self.name,
            "message_template_language": self.language,
            "message_template_category": self.category,
            "reason": more.pop("reason", None) or "NONE",
            **more,
        }


def starter_templates(waba_id: str) -> dict[tuple[str, str], Template]:
    """The approved templates that every new account has."""
    made = [Template(id=f"{waba_id}{n:03d}", **one) for n, one in enumerate(_STARTERS)]
    return {(one.name, one.language): one for one in made}


def _expected(components: list[dict[str, Any]]) -> dict[str, Any]:
    expected: dict[str, Any] = {"header": None, "body": [], "buttons": {}}
    for component in components:
        kind = component.get("type")
        if kind == "HEADER" and component.get("format", "TEXT") != "TEXT":
            expected["header"] = str(component["format"]).lower()
        elif kind == "HEADER" and PLACEHOLDER.search(str(component.get("text", ""))):
            expected["header"] = "text"
        elif kind == "BODY":
            expected["body"] = list(dict.fromkeys(PLACEHOLDER.findall(str(component.get("text", "")))))
        elif kind == "BUTTONS":
            for index, button in enumerate(component.get("buttons", [])):
                if button.get("type") == "URL" and "{{" in str(button.get("url", "")):
                    expected["buttons"][index] = "text"
                elif button.get("type") == "COPY_CODE":
                    expected["buttons"][index] = "coupon_code"
    return expected


def check_new(body: Any, known: Iterable[Template], *, template_id: str = "") -> list[dict[str, Any]]:
    """Check what a template is to be created or edited with. Returns its components. Raises Refusal."""
    if not isinstance(body, dict):
        raise Refusal(100, "Invalid parameter")
    known = list(known)
    if not template_id:
        if not isinstance(body.get("name"), str) or not _NAME.fullmatch(body["name"]):
            raise Refusal(100, "Param name must be lower-case letters, digits and underscores")
        if not isinstance(body.get("language"), str):
            raise Refusal(100, "(#100) The parameter language is required")
        if body.get("category") not in ("MARKETING", "UTILITY", "AUTHENTICATION"):
            raise Refusal(100, "Param category must be one of {AUTHENTICATION, MARKETING, UTILITY}")
        if any(one.name == body["name"] and one.language == body["language"] for one in known):
            raise Refusal(100, "There is already content in this language for this template", subcode=2388024)
        if len(known) >= _MOST_TEMPLATES:
            raise Refusal(2388019, f"The account has reached the limit of {_MOST_TEMPLATES} templates")
    components = body.get("components")
    if not isinstance(components, list) or not all(isinstance(one, dict) for one in components):
        raise Refusal(100, "Param components must be an array of objects")
    if [str(one.get("type")).upper() for one in components].count("BODY") != 1:
        raise Refusal(2388072, "A template has exactly one BODY")
    for component in components:
        _check_component(component)
    return components


def _check_component(component: dict[str, Any]) -> None:
    kind = str(component.get("type")).upper()
    if kind in _LONGEST and component.get("format", "TEXT") == "TEXT":
        text = component.get("text")
        if not isinstance(text, str) or not text.strip():
            raise Refusal({"HEADER": 2388047, "BODY": 2388072, "FOOTER": 2388073}[kind], f"{kind} needs a text")
        if len(text) > _LONGEST[kind]:
            raise Refusal(2388040, f"{kind} may have at most {_LONGEST[kind]} characters, it has {len(text)}")
        _check_variables(kind, text)
    elif kind == "BUTTONS":
        buttons = component.get("buttons")
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= _MOST_BUTTONS:
            raise Refusal(100, f"A template has 1 to {_MOST_BUTTONS} buttons")
        for button in buttons:
            if not isinstance(button, dict) or len(str(button.get("text", ""))) > _LONGEST_BUTTON:
                raise Refusal(2388040, f"A button's text may have at most {_LONGEST_BUTTON} characters")
    elif kind not in ("HEADER", "CAROUSEL", "LIMITED_TIME_OFFER"):
        raise Refusal(100, f"Unexpected component {kind}")


def _check_variables(kind: str, text: str) -> None:
    found = list(PLACEHOLDER.finditer(text))
    if not found:
        return
    if kind == "FOOTER":
        raise Refusal(2388073, "FOOTER can't have variables")
    if kind == "HEADER" and len(found) > 1:
        raise Refusal(2388047, "HEADER can have one variable at most")
    if kind == "BODY":
        if found[0].start() == 0 or found[-1].end() == len(text.rstrip()):
            raise Refusal(2388299, "Variables can't be at the start or end of the template")
        if len(PLACEHOLDER.sub(" ", text).split()) < len(found) * _WORDS_A_VARIABLE:
            raise Refusal(2388293, "This template has too many variables for its length")
    positions = [int(one[1]) for one in found if one[1].isdigit()]
    if positions and sorted(set(positions)) != list(range(1, len(set(positions)) + 1)):
        raise Refusal(2388072 if kind == "BODY" else 2388047, "Variables must be {{1}}, {{2}}, ... without gaps")
