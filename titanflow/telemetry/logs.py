"""Set-up of structlog: one line an event, for people (console) or machines (json), secrets masked."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import orjson
import structlog

_SECRET = re.compile(r"token|secret|pin$|authorization|password|signature", re.IGNORECASE)
_PHONE = re.compile(r"\+\d{7,15}\b")


def mask(text: str) -> str:
    """Return a text with phone numbers masked: the first four and last two digits stay."""
    return _PHONE.sub(lambda found: f"{found[0][:5]}...{found[0][-2:]}", text)


def _masked(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = mask(value)
    return event


def set_up(log_format: Literal["console", "json"], level: str) -> None:
    """Configure structlog and send the standard library's logging through it. Call once a process."""
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _masked,
    ]
    if log_format == "json":
        structlog.configure(
            processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*shared, structlog.dev.ConsoleRenderer(colors=False)],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
    handler = _ToStructlog()
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def set_up_for_commands() -> None:
    """Let a command's own output have standard output alone: warnings go to standard error, the rest nowhere."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, _masked, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _dumps(event: Any, **options: Any) -> str:
    return orjson.dumps(event, default=options.get("default", str)).decode()


class _ToStructlog(logging.Handler):
    """Passes records of the standard library on."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno, "library.said", logger=record.name, text=record.getMessage()
        )
