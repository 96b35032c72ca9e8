"""Tests of the model and the trainer need torch, which the pipeline does not: without it they are left
out.
"""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings

HAS_TORCH = importlib.util.find_spec("torch") is not None

# How long an example takes is decided by what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

collect_ignore = [] if HAS_TORCH else ["model", "train"]


def pytest_report_header() -> str:
    """Says what is left out."""
    told = "tests of model/ and train/ are run"
    return told if HAS_TORCH else "no torch: model/ and train/ are not tested (pip install -e '.[train]')"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with whole runs go first: a file is the work of one process, and none should be left with such a
    file when the others have ended.
    """
    items.sort(key=lambda item: not _holds_runs(item.path))


def _holds_runs(file: Path) -> bool:
    return file.stem.endswith("_runs") or file.parent.name in ("pipeline", "train")
