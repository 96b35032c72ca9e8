"""report.html, first form."""

from collections.abc import Mapping
from typing import Any

from pipeline.phase import Job


def render_page(job: Job, manifest: Mapping[str, Any]) -> str:
    return "<!doctype html>"
