"""Tests of the model and the trainer need torch, which the pipeline does not: without it they are left
out.
"""

import importlib.util

HAS_TORCH = importlib.util.find_spec("torch") is not None

collect_ignore = [] if HAS_TORCH else ["model", "train"]


def pytest_report_header() -> str:
    """Says what is left out."""
    told = "tests of model/ and train/ are run"
    return told if HAS_TORCH else "no torch: model/ and train/ are not tested (pip install -e '.[train]')"
