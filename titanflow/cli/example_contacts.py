"""Makes realistic, messy contact lists, the same every time: `python -m titanflow.cli.example_contacts FILE ROWS`."""

import csv
import random
import sys
from pathlib import Path

_FIRST = ["Ana", "João", "Müller", "Zoë", "李雷", "Noor", "Olu", "Siân", "Ivan", "Aïcha", "Pat 🎈", 'Jo "JJ"', "O'Neil"]
_LAST = ["Silva", "Souza, Filho", "Schmidt", "García", "Okafor", "Nowak", "Haddad", "Smith"]
_CITIES = ["Berlin", "São Paulo", "Łódź", "Lagos", "Madrid", "Jakarta", "İzmir"]
# Country code and national pattern: 0 is any digit. Valid by libphonenumber's metadata.
_SHAPES = [("49", "15510000000"), ("34", "612000000"), ("48", "512000000"), ("351", "912000000"), ("55", "11987000000")]
_FORMATS = ["+{}", "00{}", "+{} ", "'+{}", "+{:.2}-{}", "{}"]
_BAD = ["", "n/a", "12345", "4.91510000000E+11", "+49", "call me", "+999123456789"]


def generate(path: Path, rows: int, seed: int = 7, *, first: int = 0) -> None:
    """Write a CSV of `rows` rows: some 3 % unusable phones, some 4 % duplicates in another notation.

    first: the number of the first person, 0 to 999,999; lists whose ranges don't meet share nobody.
    """
    rng = random.Random(seed)  # noqa: S311  (examples, no secret)
    known: list[str] = []
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Phone", "first_name", "last_name", "city", "code"])
        for n in range(rows):
            draw = rng.random()
            if draw < 0.03:
                phone = rng.choice(_BAD)
            elif draw < 0.07 and known:
                phone = _written(rng, rng.choice(known))
            else:
                known.append(_number(rng, first + n))
                phone = _written(rng, known[-1])
            writer.writerow([phone, rng.choice(_FIRST), rng.choice(_LAST), rng.choice(_CITIES), f"C{first + n:06d}"])


def _number(rng: random.Random, n: int) -> str:
    """A number of its own for each row: the row's number is in its last digits."""
    code, shape = _SHAPES[rng.randrange(len(_SHAPES))]
    tail = f"{n:06d}"[-6:] if shape.endswith("000000") else f"{n:06d}"
    return code + shape[: len(shape) - len(tail)] + tail


def _written(rng: random.Random, digits: str) -> str:
    form = rng.randrange(4)
    if form == 0:
        return f"+{digits[:2]} {digits[2:5]} {digits[5:]}"
    if form == 1:
        return f"00{digits}"
    if form == 2:
        return f"+{digits[:4]}-{digits[4:]}"
    return f"+{digits}"


if __name__ == "__main__":
    generate(Path(sys.argv[1]), int(sys.argv[2]))
