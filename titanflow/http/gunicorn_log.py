"""gunicorn's own log: errors of the server, and the access log if somebody turns it on."""

from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from titanflow.telemetry.masking import MaskingFormatter


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """Every line masked: paths and tracebacks may hold phone numbers and passwords."""

    def setup(self, cfg: Any) -> None:
        """Set the handlers up as gunicorn does, syslog's too; then put the mask before each."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                if handler.formatter is not None and not isinstance(handler.formatter, MaskingFormatter):
                    handler.setFormatter(MaskingFormatter(handler.formatter))
