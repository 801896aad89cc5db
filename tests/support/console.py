"""Runs the ```console blocks of a document: commands behind `$`, and below them what they should answer, in part."""

import http.client
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Step:
    """A command with its lines joined, and the answer below it, "" if there is none."""

    command: str
    shown: str


def steps(document: str) -> Iterator[Step]:
    """Yield the commands of all console blocks, in order."""
    for block in re.findall(r"```console\n(.*?)```", document, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, answer = _split(part)
            yield Step(command, answer)


def _split(part: str) -> tuple[str, str]:
    """The command ends where the shell would say so: no backslash, no open quote."""
    lines = part.splitlines()
    for n in range(1, len(lines) + 1):
        text = "\n".join(lines[:n])
        if text.endswith("\\"):
            continue
        try:
            shlex.split(text)
        except ValueError:
            continue
        return text, "\n".join(lines[n:]).strip()
    raise AssertionError(f"no end of the command: {part}")


def run(command: str, environment: dict[str, str], folder: Path) -> str:
    """Run a command in a real shell; `curl` in it is this module, since a machine may have none. Returns its output."""
    program = folder / "curl"
    if not program.exists():
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.support.console "$@"\n')
        program.chmod(0o755)
    environment = {**environment, "PATH": f"{folder}:{environment['PATH']}"}
    done = subprocess.run(
        ["sh", "-euc", command], env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def fits(shown: Any, got: Any) -> bool:
    """True if what is shown is there: each member, each item of a list's beginning; ids and totals may differ."""
    if isinstance(shown, dict):
        return isinstance(got, dict) and all(
            name in got and (name in ("id", "total", "title") or fits(one, got[name])) for name, one in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(got, list) and len(got) >= len(shown) and all(map(fits, shown, got))
    return bool(shown == got)


def curl(arguments: list[str]) -> tuple[str, str, dict[str, str], bytes, str | None]:
    """Read curl's options as far as the documents use them: method, URL, headers, body, output file."""
    method, url, headers, body, output = "", "", {}, b"", None
    rest = iter(arguments)
    for one in rest:
        match one:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                headers[name.strip()] = value.strip()
            case "-d" | "--data-binary":
                given = next(rest)
                body = Path(given[1:]).read_bytes() if given.startswith("@") else given.encode()
                headers.setdefault("Content-Type", "application/x-www-form-urlencoded")  # as curl does
            case "-o":
                output = next(rest)
            case _ if one.startswith("-"):
                raise AssertionError(f"curl {one}: this test doesn't know the option")
            case _:
                url = one
    return method or ("POST" if body else "GET"), url, headers, body, output


def main(arguments: list[str]) -> None:
    """Be curl."""
    method, url, headers, body, output = curl(arguments)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, url.removeprefix(f"{parts.scheme}://{parts.netloc}"), body or None, headers)
        answer = connection.getresponse().read()
    finally:
        connection.close()
    if output:
        Path(output).write_bytes(answer)
    else:
        print(answer.decode())


if __name__ == "__main__":
    main(sys.argv[1:])
