"""What a contact list must be: strict UTF-8, no binary junk, bounded lines, a header with a phone column. Pure."""

import codecs
import csv
import re
from dataclasses import dataclass

MAX_LINE_CHARS = 64 * 1024
_PHONE_NAMES = {
    "phone", "phonenumber", "phoneno", "mobile", "mobilenumber", "mobilephone", "cell", "cellphone", "number",
    "msisdn", "whatsapp", "whatsappnumber", "tel", "telephone", "telefon", "handy", "telefone", "celular", "numero",
    "contact", "contactnumber", "to",
}  # fmt: skip
_DELIMITERS = ",;\t"


class BadFile(Exception):
    """Why a file can't be imported, and in which line."""

    def __init__(self, sentence: str, line: int) -> None:
        super().__init__(sentence)
        self.sentence, self.line = sentence, line


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. phone: index of the phone column."""

    delimiter: str
    columns: tuple[str, ...]
    phone: int


def read_header(line: str) -> Header:
    """Return what the header line says. Raises BadFile."""
    counts = {delimiter: line.count(delimiter) for delimiter in _DELIMITERS}
    delimiter = max(counts, key=lambda one: counts[one]) if any(counts.values()) else ","
    if "\r" in line:
        raise BadFile("The lines end in CR alone; save the file as 'CSV UTF-8', whose lines end in LF or CRLF", 1)
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        raise BadFile("A quote in the header is not closed, or stands inside a name", 1) from None
    columns = tuple(cell.strip() for cell in cells)
    plain = [re.sub(r"[^a-z]", "", column.lower()) for column in columns]
    phone = next((index for index, name in enumerate(plain) if name in _PHONE_NAMES), None)
    if phone is None:
        shown = ", ".join(columns[:10])[:200]
        raise BadFile(f"No column is named phone, mobile, number, msisdn or whatsapp; there are: {shown}", 1)
    if any(not column for column in columns):
        raise BadFile("A column has no name", 1)
    if len(set(columns)) < len(columns):
        raise BadFile("Two columns have the same name", 1)
    return Header(delimiter, columns, phone)


class FileCheck:
    """Checks a file while it comes in, piece by piece, holding no more than a line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._length = 0
        self._first = ""
        self._data_seen = False
        self.header: Header | None = None

    @property
    def line(self) -> int:
        """The line that is being read."""
        return self._line

    def feed(self, piece: bytes) -> None:
        """Take the next bytes in. Raises BadFile."""
        self._take(self._decode(piece, final=False))

    def finish(self) -> Header:
        """Say that the file is complete. Raises BadFile if it has no header or no data."""
        self._take(self._decode(b"", final=True))
        if self.header is None:
            first = self._first.lstrip("\ufeff")
            if not first.strip():
                raise BadFile("The file is empty", 1)
            self.header = read_header(first.rstrip("\r"))
        if not self._data_seen:
            raise BadFile("The file has a header, but no data", 1)
        return self.header

    def _decode(self, piece: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            line = self._line + before.count(b"\n")
            raise BadFile("The file is not valid UTF-8; save it as 'CSV UTF-8'", line) from None

    def _take(self, text: str) -> None:
        if not text:
            return
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if "\x00" in line:
                raise BadFile("The file holds binary data, it is no CSV", self._line)
            self._length += len(line)
            if self._length > MAX_LINE_CHARS:
                raise BadFile(f"A line is longer than {MAX_LINE_CHARS} characters", self._line)
            if self.header is None:
                self._first += line
            elif line.strip():
                self._data_seen = True
            if number < len(lines) - 1:
                if self.header is None:
                    self.header = read_header(self._first.lstrip("\ufeff").rstrip("\r"))
                self._line += 1
                self._length = 0
