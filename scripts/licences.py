"""Prints the licence of every package that lock files pin, and fails unless each allows commercial use.

Usage: licences.py LOCKFILE... Reads what is installed here; a package for other systems only is skipped.
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

# LGPL and MPL: used as they are, not changed and not linked in.
_FINE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla Public|LGPL|Lesser General Public|"
    r"Unlicense|PostgreSQL|ZPL|Zope Public|HPND|CC0|Public Domain)",
    re.IGNORECASE,
)
_NOT_FINE = re.compile(r"\b(AGPL|Affero|SSPL|Commons Clause|Business Source|BUSL|Non-?Commercial|GPL)", re.IGNORECASE)


def licence_of(said: PackageMetadata) -> str:
    """Return what a package says of its licence: an SPDX expression, classifiers, or the first line of its text."""
    classifiers = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or [] if one.startswith("License")]
    expression, text = ("".join(said.get_all(name) or []).strip() for name in ("License-Expression", "License"))
    words = [expression, ", ".join(classifiers), text.split("\n")[0]]
    return next((one for one in words if one and one != "OSI Approved"), "")


def is_fine(licence: str) -> bool:
    """Tell whether a licence allows commercial use, as far as its name tells."""
    return _FINE.search(licence) is not None and _NOT_FINE.search(licence) is None


def main(locks: list[Path]) -> int:
    """Return the exit code."""
    names = sorted({name for lock in locks for name in re.findall(r"(?m)^([A-Za-z0-9_.-]+)==", lock.read_text())})
    bad = []
    for name in names:
        try:
            licence = licence_of(metadata(name))
        except PackageNotFoundError:
            print(f"{name:30} (not for this system)")
            continue
        print(f"{name:30} {licence or 'says nothing'}")
        if not is_fine(licence):
            bad.append(name)
    if bad:
        print(f"May not be used, or must be read by a person: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad or not names else 0


if __name__ == "__main__":
    sys.exit(main([Path(one) for one in sys.argv[1:]]))
