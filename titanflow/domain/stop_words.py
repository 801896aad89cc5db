"""Which replies are an opt-out, and which take it back. Data, and pure functions.

Only a whole message counts: "stop" inside a sentence is no opt-out. Lists are folded when they are read, so they may be
written as people write: case, accents of Latin letters and punctuation around the words don't matter. These lists are
what holds until an operator writes others (domain/opt_out.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from titanflow.domain.folding import fold

Intent = Literal["stop", "start"]

# One line a language. What Meta's own opt-out button says is among them.
_STOP = {
    "en": "stop, stop all, stopall, unsubscribe, cancel, end, quit, opt out, optout, opt-out, remove me, no more,"
    " stop promotions, stop messages, stop sending, stop please, please stop",
    "pt": "parar, pare, sair, cancelar, descadastrar, remover, parar promoções, parar mensagens, não quero mais,"
    " cancelar inscrição",
    "es": "parar, alto, baja, darme de baja, dar de baja, cancelar, salir, detener, detener promociones,"
    " no más mensajes, cancelar suscripción",
    "de": "stopp, stop, abmelden, abbestellen, abbruch, beenden, austragen, keine werbung, werbung stoppen,"
    " keine nachrichten",
    "fr": "stop, arrêt, arrêter, arrêtez, désabonner, se désabonner, me désabonner, désinscription, désinscrire,"
    " annuler, arrêter les promotions",
    "it": "stop, ferma, basta, cancella, cancellami, annulla, disiscrivi, disiscrivimi, interrompi promozioni",
    "nl": "stop, stoppen, afmelden, uitschrijven, opzeggen",
    "pl": "stop, rezygnuję, wypisz, wypisz mnie, anuluj, koniec",
    "tr": "dur, durdur, iptal, çık, çik, abonelikten çık",
    "id": "stop, berhenti, batal, keluar, berhenti berlangganan",
    "ru": "стоп, отписаться, отписка, отмена, хватит, остановить",
    "uk": "стоп, відписатися, відписка, скасувати",
    "hi": "बंद, बंद करो, बंद करें, बन्द करो, रोकें, रोको, रुको, स्टॉप, सदस्यता समाप्त करें, मत भेजो",
    "bn": "বন্ধ, বন্ধ করুন, থামুন",
    "ar": "توقف, ايقاف, إيقاف, الغاء, إلغاء, الغاء الاشتراك, إلغاء الاشتراك, قف, وقف",
    "he": "עצור, הסר, הסרה, הפסק, די",
    "fa": "توقف, لغو, لغو اشتراک",
    "ur": "بند, بند کرو, روکیں",
    "zh": "停止, 退订, 退訂, 取消, 取消订阅, 取消訂閱",
    "ja": "停止, 配信停止, 解除, 登録解除, ストップ",
    "ko": "중지, 수신거부, 그만, 취소, 구독취소",
    "th": "หยุด, ยกเลิก",
    "vi": "dừng, ngừng, hủy, hủy đăng ký",
}
_START = {
    "en": "start, unstop, subscribe, resubscribe, opt in, optin, opt-in, resume",
    "pt": "começar, iniciar, voltar, assinar, inscrever",
    "es": "empezar, iniciar, comenzar, alta, darme de alta, suscribir, suscribirme",
    "de": "start, anmelden, abonnieren",
    "fr": "start, commencer, démarrer, abonner, s'abonner, m'abonner",
    "it": "inizia, iscrivi, iscrivimi",
    "nl": "start, aanmelden, inschrijven",
    "tr": "başla, başlat, abone ol",
    "id": "mulai, berlangganan",
    "ru": "старт, подписаться, начать",
    "hi": "शुरू, शुरू करो, शुरू करें, चालू, स्टार्ट",
    "ar": "ابدأ, ابدا, بدء, اشترك, اشتراك",
    "zh": "开始, 訂閱, 订阅",
    "ja": "開始, 登録, スタート",
    "ko": "시작, 구독",
}

STOP_PREFIX, START_PREFIX = "STOP:", "START:"
_PREFIXES: tuple[tuple[str, Intent], ...] = ((STOP_PREFIX, "stop"), (START_PREFIX, "start"))


def by_language(intent: Intent) -> dict[str, tuple[str, ...]]:
    """Return the built-in words as they are written."""
    lines = _STOP if intent == "stop" else _START
    return {language: tuple(word.strip() for word in line.split(",")) for language, line in lines.items()}


@dataclass(frozen=True, slots=True)
class Words:
    """Folded words, each with the languages that have it, in order."""

    stop: Mapping[str, tuple[str, ...]]
    start: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. languages: of the word that said it, none if a button's payload did."""

    intent: Intent
    languages: tuple[str, ...]


def compiled(stop: Mapping[str, Iterable[str]], start: Mapping[str, Iterable[str]]) -> Words:
    """Return words by language, ready to be compared."""
    return Words(_compiled(stop), _compiled(start))


def _compiled(words: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, line in words.items():
        for word in dict.fromkeys(fold(one) for one in line):
            found[word] = (*found.get(word, ()), language)
    return found


BUILT_IN = compiled(by_language("stop"), by_language("start"))
STOP_WORDS, START_WORDS = frozenset(BUILT_IN.stop), frozenset(BUILT_IN.start)
LONGEST = 60


def is_stop_word(text: str) -> bool:
    """Say if a whole message or button is a built-in word of opting out."""
    return len(text) <= LONGEST and fold(text) in STOP_WORDS


def intent(kind: str, content: Mapping[str, Any], words: Words = BUILT_IN) -> Intent | None:
    """Return what an inbound message asks for, None for nearly all. content: Meta's object as it came, of any shape."""
    found = wish(kind, content, words)
    return found.intent if found else None


def wish(kind: str, content: Mapping[str, Any], words: Words = BUILT_IN) -> Wish | None:
    """Return what an inbound message asks for and in which languages. A button's payload of ours has the first word."""
    texts, payloads = said(kind, content)
    for payload in payloads:
        for prefix, wanted in _PREFIXES:
            if payload.upper().startswith(prefix):
                return Wish(wanted, ())
    for text in (*texts, *payloads):
        if len(text) <= LONGEST:
            word = fold(text)
            if word in words.stop:
                return Wish("stop", words.stop[word])
            if word in words.start:
                return Wish("start", words.start[word])
    return None


def said(kind: str, content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the texts a person wrote or pressed, and the payloads behind them."""
    body = content.get(kind)
    if not isinstance(body, dict):
        return [], []
    match kind:
        case "text":
            return _strings(body, "body"), []
        case "button":
            return _strings(body, "text"), _strings(body, "payload")
        case "interactive":
            reply = body.get("button_reply") or body.get("list_reply")
            return (_strings(reply, "title"), _strings(reply, "id")) if isinstance(reply, dict) else ([], [])
        case _:
            return [], []


def _strings(holder: Mapping[str, Any], key: str) -> list[str]:
    value = holder.get(key)
    return [value] if isinstance(value, str) else []
