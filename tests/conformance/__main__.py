"""`python -m tests.conformance [WORD ...]`: every scenario below OTP_SCENARIOS (default: our own copy).

With words, only scenarios whose path contains one. Last line "N passed, N failed"; exit 1 on failure.
"""

from __future__ import annotations

import sys

from titanflow.supervision import patch_everything

patch_everything()

from tests.conformance.scenarios import scenario_files, violations_of  # noqa: E402  # after the patch


def main(words: list[str]) -> int:
    """Run them all and say what did not conform."""
    passed = failed = 0
    for file in scenario_files():
        if words and not any(word in str(file) for word in words):
            continue
        violations = violations_of(file)
        if violations:
            failed += 1
            print(f"FAILED {file.parent.name}/{file.stem}")
            for line in violations[:8]:
                print(f"       {line}")
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
