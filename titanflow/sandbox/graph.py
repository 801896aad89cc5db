"""The Graph API of the sandbox: messages, templates, numbers, with the faults of the profile."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiohttp import web

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.ledger import Accepted, Ledger
from titanflow.sandbox.profiles import PROFILES, Profile
from titanflow.sandbox.rules import Rule, Rules
from titanflow.sandbox.users import user_of
from titanflow.sandbox.validation import Template, check_message
from titanflow.sandbox.webhooks import Webhooks

_THROTTLE_PHASE_S = 10.0
_SLOW_S = 35.0
_HANG_S = 300.0

_BUTTON_URL = "https://shop.example.com/{{1}}"
TEMPLATES: list[dict[str, Any]] = [
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
class Number:
    """A phone number of this Meta."""

    id: str
    waba_id: str
    display: str
    mps: int = 1000
    quality: str = "GREEN"

    @property
    def metadata(self) -> dict[str, str]:
        """As webhooks carry it."""
        return {"display_phone_number": self.display, "phone_number_id": self.id}


@dataclass
class Meta:
    """Everything this Meta knows."""

    ledger: Ledger
    webhooks: Webhooks
    profile: Profile
    seed: int
    latency_s: float
    tokens: set[str] = field(default_factory=set)
    numbers: dict[str, Number] = field(default_factory=dict)
    templates: dict[str, dict[tuple[str, str], Template]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311  (a simulation, no secret)
        self.rules = Rules(self.seed)
        self.fired: set[int] = set()
        self.pairs: set[str] = set()
        self._wamids = 0
        self._doubts = [(kind, share) for kind, share in self.profile.doubt.items()]

    def use(self, name: str) -> None:
        """Change the fault profile."""
        self.profile = self.webhooks.profile = PROFILES[name]
        self._doubts = list(self.profile.doubt.items())

    def number(self, phone_number_id: str) -> Number:
        """Return a number; in an open sandbox an unknown one comes into being."""
        known = self.numbers.get(phone_number_id)
        if known is None:
            if self.tokens or not phone_number_id.isdigit():
                details = f"Object with ID '{phone_number_id}' does not exist"
                raise Refusal(100, f"Unsupported post request. {details}", subcode=33)
            known = self.numbers[phone_number_id] = Number(phone_number_id, "900000001", "15550" + phone_number_id[-6:])
        return known

    def templates_of(self, waba_id: str) -> dict[tuple[str, str], Template]:
        """Return an account's templates; a new account has a few approved ones."""
        if waba_id not in self.templates:
            self.templates[waba_id] = {}
            for n, one in enumerate(TEMPLATES):
                made = Template(id=f"{waba_id}{n:03d}", **one)
                self.templates[waba_id][made.name, made.language] = made
        return self.templates[waba_id]

    def check_token(self, request: web.Request) -> None:
        """Raise Refusal 190 unless the token is known; without configured tokens any will do."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not token or (self.tokens and token not in self.tokens):
            raise Refusal(190, "Invalid OAuth access token - Cannot parse access token", status=401)

    def next_wamid(self) -> str:
        """Return a new message id."""
        self._wamids += 1
        return f"wamid.HBgL{self.seed:04d}{self._wamids:012d}FQIAERgS=="

    def doubt(self) -> str | None:
        """Draw an ambiguous fault."""
        if not self._doubts:
            return None
        drawn = self.random.random()
        for kind, share in self._doubts:
            if drawn < share:
                return kind
            drawn -= share
        return None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(data: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def refusal(error: Refusal) -> web.Response:
    """A Graph error."""
    return web.Response(body=error.body(), status=error.status, headers=error.headers, content_type="application/json")


def messages_handler(meta: Meta) -> Handler:
    """POST /{version}/{phone_number_id}/messages."""

    async def post(request: web.Request) -> web.StreamResponse:
        at = asyncio.get_running_loop().time()
        number_id = request.match_info["id"]
        in_window = meta.ledger.arrived(number_id, at)
        raw = await request.read()
        try:
            meta.check_token(request)
            number = meta.number(number_id)
            try:
                body = orjson.loads(raw)
            except orjson.JSONDecodeError:
                raise Refusal(100, "The body is not valid JSON") from None
            to, template = check_message(body, meta.templates_of(number.waba_id))
            echo = body.get("biz_opaque_callback_data", "")
            about = {"number": number_id, "waba": number.waba_id, "template": template, "to": to, "echo": echo}
            rule = meta.rules.fired("answer", **about)
            if rule is not None:
                raise rule.refusal(number.waba_id)
            _throttle(meta, number, to, in_window, at)
        except Refusal as error:
            meta.ledger.refused[error.code] += 1
            await asyncio.sleep(meta.latency_s)
            return refusal(error)
        rule = meta.rules.fired("doubt", **about)
        kind = meta.doubt() if rule is None else rule.kind
        if kind is not None:
            meta.ledger.faults[kind] += 1
        wait_s = _wait_s(meta, kind, rule)
        if kind is not None and kind.endswith("_before"):
            await asyncio.sleep(wait_s)
            return await _doubtful(request, kind, b"")
        wamid = meta.next_wamid()
        user = user_of(to, meta.seed, meta.profile)
        failing = meta.rules.fired("status", **about)
        if failing is not None:
            user = replace(user, failure=failing.code)
        meta.ledger.accept(Accepted(at, number_id, to, template, echo, wamid, kind is None))
        meta.webhooks.life_of(number.waba_id, number.metadata, wamid, user, echo, time.time())
        accepted = orjson.dumps(
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": body["to"], "wa_id": user.wa_id}],
                "messages": [{"id": wamid, "message_status": "accepted"}],
            }
        )
        await asyncio.sleep(wait_s)
        if kind is not None:
            return await _doubtful(request, kind, accepted)
        return web.Response(body=accepted, content_type="application/json")

    return post


def _throttle(meta: Meta, number: Number, to: str, in_window: int, at: float) -> None:
    """Raise a Refusal if a limit, or the profile, says so."""
    profile = meta.profile
    allowed: float = number.mps
    if profile.throttle_share < 1 and int(at / _THROTTLE_PHASE_S) % 2:
        allowed *= profile.throttle_share
    if in_window > allowed + 1:
        raise Refusal(130429, "Rate limit hit: message failed to send because of too many messages")
    if profile.pair and to not in meta.pairs and user_of(to, meta.seed, profile).pair_limited:
        meta.pairs.add(to)
        raise Refusal(131056, "pair rate limit hit")
    for code, after in profile.once.items():
        if code not in meta.fired and len(meta.ledger.accepted) >= after:
            meta.fired.add(code)
            raise Refusal(code, "The limit is reached, once in this run")
    for code, share in profile.refuse.items():
        if meta.random.random() < share:
            raise Refusal(code, "Refused by the fault profile")


def _wait_s(meta: Meta, kind: str | None, rule: Rule | None) -> float:
    if rule is not None and rule.delay_s is not None:
        return rule.delay_s
    if kind is not None and kind.startswith("hang_"):
        return _HANG_S
    return _SLOW_S if kind is not None and kind.startswith("slow_") else meta.latency_s


async def _doubtful(request: web.Request, kind: str, accepted: bytes) -> web.StreamResponse:
    """Answer in a way that proves nothing, or that merely looks odd."""
    what = kind.rpartition("_")[0]
    transport = request.transport
    if what.startswith("code_"):
        return refusal(Refusal(int(what.removeprefix("code_")), "Something went wrong"))
    if what == "cut" and accepted and transport is not None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(accepted)}\r\n\r\n"
        transport.write(head.encode() + accepted[: len(accepted) // 2])
        transport.close()
        return web.Response()
    if what in ("reset", "hang", "cut") and transport is not None:
        transport.abort()
        return web.Response()
    if what == "close" and transport is not None:
        transport.close()
        return web.Response()
    if what == "malformed":
        return web.Response(body=b'{"messages": [{"id', content_type="application/json")
    if what == "empty":
        return web.Response(body=b"", content_type="application/json")
    if what == "no_messages":
        return web.Response(body=b'{"messaging_product": "whatsapp"}', content_type="application/json")
    if what.startswith("html"):
        status = int(what.partition("_")[2] or 502)
        return web.Response(body=b"<html>Bad Gateway</html>", status=status, content_type="text/html")
    if what == "redirect":
        return web.Response(body=b"<html>Moved</html>", status=302, headers={"Location": "/login"})
    if what == "slow" and not accepted:
        return refusal(Refusal(131016))
    return await _odd(request, what, accepted)


async def _odd(request: web.Request, what: str, accepted: bytes) -> web.StreamResponse:
    response = web.Response(body=accepted, content_type="text/html" if what == "text_type" else "application/json")
    if what == "gzip":
        response.enable_compression(web.ContentCoding.gzip)
    elif what == "extra_fields":
        response.body = orjson.dumps({**orjson.loads(accepted), "new": {"nested": [1, None]}, "warning": "\u00e9"})
    elif what == "close_after_answer":
        response.force_close()
    elif what == "chunked":
        streamed = web.StreamResponse(headers={"Content-Type": "application/json"})
        streamed.enable_chunked_encoding()
        await streamed.prepare(request)
        for start in range(0, len(accepted), 40):
            await streamed.write(accepted[start : start + 40])
        return streamed
    return response


def management_routes(meta: Meta) -> list[web.RouteDef]:
    """Templates and numbers, as far as a sender reads and writes them."""

    def guarded(handler: Handler) -> Handler:
        async def run(request: web.Request) -> web.StreamResponse:
            try:
                meta.check_token(request)
                rule = meta.rules.fired("management", path=request.path)
                if rule is not None:
                    return (
                        web.Response(status=rule.http_status or 500) if rule.code is None else refusal(rule.refusal(""))
                    )
                return await handler(request)
            except Refusal as error:
                return refusal(error)

        return run

    async def templates(request: web.Request) -> web.StreamResponse:
        known = [one.as_graph() for one in meta.templates_of(request.match_info["id"]).values()]
        limit = max(1, min(int(request.query.get("limit", "25")), 250))
        start = int(request.query.get("after", "0") or 0)
        page = known[start : start + limit]
        paging: dict[str, Any] = {"cursors": {"before": str(start), "after": str(start + len(page))}}
        if start + limit < len(known):
            paging["next"] = str(request.url.update_query(after=str(start + limit)))
        return answer({"data": page, "paging": paging})

    async def create_template(request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        waba_id = request.match_info["id"]
        known = meta.templates_of(waba_id)
        made = Template(
            id=f"{waba_id}{len(known):03d}",
            name=str(body.get("name")),
            language=str(body.get("language")),
            components=body.get("components") or [],
            category=str(body.get("category", "MARKETING")),
            parameter_format=str(body.get("parameter_format", "POSITIONAL")),
            status="PENDING",
        )
        known[made.name, made.language] = made

        def approve() -> None:
            made.status = "APPROVED"
            event = {
                "event": "APPROVED",
                "message_template_id": int(made.id),
                "message_template_name": made.name,
                "message_template_language": made.language,
                "reason": "NONE",
            }
            meta.webhooks.schedule(0, waba_id, "message_template_status_update", event)

        asyncio.get_running_loop().call_later(0.5, approve)
        return answer({"id": made.id, "status": "PENDING", "category": made.category})

    async def number(request: web.Request) -> web.StreamResponse:
        one = meta.number(request.match_info["id"])
        return answer(
            {
                "id": one.id,
                "display_phone_number": one.display,
                "verified_name": "Sandbox",
                "status": "CONNECTED",
                "quality_rating": one.quality,
                "throughput": {"level": "HIGH" if one.mps > 80 else "STANDARD"},
                "whatsapp_business_manager_messaging_limit": "TIER_UNLIMITED",
            }
        )

    async def numbers(request: web.Request) -> web.StreamResponse:
        waba_id = request.match_info["id"]
        found = [{"id": one.id} for one in meta.numbers.values() if one.waba_id == waba_id]
        return answer({"data": found, "paging": {"cursors": {}}})

    version = r"/{version:v\d+\.\d+}"
    return [
        web.get(version + "/{id}/message_templates", guarded(templates)),
        web.post(version + "/{id}/message_templates", guarded(create_template)),
        web.get(version + "/{id}/phone_numbers", guarded(numbers)),
        web.get(version + "/{id}", guarded(number)),
    ]
