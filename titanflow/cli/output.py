"""Prints what commands found: aligned text for people, or JSON."""

import json
from collections.abc import Sequence
from typing import Any

import click

as_json = click.option("--json", "json_out", is_flag=True, help="Print JSON.")


def show(data: Any, json_out: bool) -> None:
    """Print rows as a table, one object as a line a member, texts as they are."""
    if json_out:
        click.echo(json.dumps(data, indent=2, default=str, ensure_ascii=False))
    elif isinstance(data, dict):
        width = max((len(str(key)) for key in data), default=0)
        for key, value in data.items():
            click.echo(f"{key:<{width}}  {_cell(value)}".rstrip())
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        _table(data)
    else:
        for line in data if isinstance(data, list) else [data]:
            click.echo(line)


def columns(rows: Sequence[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return the rows with these members only, in this order."""
    return [{name: row[name] for name in names} for row in rows]


def _table(rows: list[dict[str, Any]]) -> None:
    lines = [list(rows[0]), *[[_cell(value) for value in row.values()] for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_cell(part) for part in value) or "-"
    return str(value)
