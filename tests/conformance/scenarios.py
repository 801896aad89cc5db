"""Finds scenarios and judges runs of them."""

from __future__ import annotations

import json
import logging
import os
import traceback
from pathlib import Path
from typing import Any

import structlog

from tests.conformance.check_trace import check
from tests.conformance.runner import Run

_OWN_COPY = Path(__file__).parent / "scenarios"


def scenario_files() -> list[Path]:
    """Every scenario below the folder in OTP_SCENARIOS; by default our own copy."""
    return sorted(Path(os.environ.get("OTP_SCENARIOS") or _OWN_COPY).rglob("*.json"))


def violations_of(file: Path) -> list[str]:
    """Carry a scenario out; one line for each way in which it differs from OTP."""
    scenario: dict[str, Any] = json.loads(file.read_text())
    if "steps" not in scenario or "trace" not in scenario:
        return ["not a scenario: it has no steps or no trace"]
    was_configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        observed = Run(scenario).observe()
    except Exception:  # a crash of the run is its verdict
        return ["the run broke down: " + traceback.format_exc(limit=-3)]
    finally:
        structlog.configure(**was_configured)
    return check(scenario, observed)
