"""Texts as they are compared: by what people mean, not by how they type it. Pure."""

import unicodedata

# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Chinese characters.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)  # fmt: skip


def fold(text: str) -> str:
    """Return a text as a whole: case, accents of Latin letters, width and what stands around it removed."""
    kept = _without_accents(text)
    # Marks (M) are parts of words in Indic scripts; everything else that is no letter or digit only surrounds them.
    first, last = 0, len(kept)
    while first < last and unicodedata.category(kept[first])[0] not in "LN":
        first += 1
    while last > first and unicodedata.category(kept[last - 1])[0] not in "LNM":
        last -= 1
    return unicodedata.normalize("NFC", " ".join(kept[first:last].split()))


def words(text: str) -> str:
    """Return the words of a text with one space between and around them: " like this ". "" if there are none."""
    # Cf: joiners inside words of Persian and Hindi.
    spaced = "".join(
        char if kind[0] in "LNM" else "" if kind == "Cf" else " "
        for char in _without_accents(text.replace("'", "").replace("\u2019", ""))
        for kind in (unicodedata.category(char),)
    )
    found = unicodedata.normalize("NFC", " ".join(spaced.split()))
    return f" {found} " if found else ""


def unspaced(text: str) -> bool:
    """Say if a text is written in a script that puts no space between words."""
    return any(low <= ord(char) <= high for char in text for low, high in _UNSPACED)


def _without_accents(text: str) -> str:
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in wide if not "\u0300" <= char <= "\u036f")
