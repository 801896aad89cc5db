"""Which replies are an opt-out, and which take it back. Data, and one pure function.

Only a whole message counts: "stop" inside a sentence is no opt-out. Lists are folded when they are read, so they may be
written as people write: case, accents of Latin letters and punctuation around the words don't matter.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

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


def fold(text: str) -> str:
    """Return a text as it is compared: case, accents of Latin letters, width and what stands around it removed."""
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(char for char in wide if not "\u0300" <= char <= "\u036f")
    # Marks (M) are parts of words in Indic scripts; everything else that is no letter or digit only surrounds them.
    first, last = 0, len(kept)
    while first < last and unicodedata.category(kept[first])[0] not in "LN":
        first += 1
    while last > first and unicodedata.category(kept[last - 1])[0] not in "LNM":
        last -= 1
    return unicodedata.normalize("NFC", " ".join(kept[first:last].split()))


def _folded(words: Mapping[str, str]) -> frozenset[str]:
    return frozenset(fold(word) for line in words.values() for word in line.split(","))


STOP_WORDS = _folded(_STOP)
START_WORDS = _folded(_START)
_LONGEST = 60


def is_stop_word(text: str) -> bool:
    """Say if a whole message or button is a word of opting out."""
    return len(text) <= _LONGEST and fold(text) in STOP_WORDS


def intent(kind: str, content: Mapping[str, Any]) -> Intent | None:
    """Return what an inbound message asks for, None for nearly all. content: Meta's object as it came, of any shape."""
    texts, payloads = _said(kind, content)
    for payload in payloads:
        if payload.upper().startswith(STOP_PREFIX):
            return "stop"
        if payload.upper().startswith(START_PREFIX):
            return "start"
    for text in (*texts, *payloads):
        if len(text) <= _LONGEST:
            word = fold(text)
            if word in STOP_WORDS:
                return "stop"
            if word in START_WORDS:
                return "start"
    return None


def _said(kind: str, content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The texts a person wrote or pressed, and the payloads behind them."""
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
