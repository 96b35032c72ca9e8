"""The doctor finds what is there, says how to get what is not, and compiles every kernel."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import doctor
from pipeline.kernels.jit import TARGET

PACKAGE = Path(doctor.__file__).parent


def examined(monkeypatch: pytest.MonkeyPatch, wanted: list[str], *, warm: bool = False) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "requires", lambda _: wanted)
    screen = io.StringIO()
    code = doctor.examine(Console(file=screen, width=500), warm=warm)
    return code, screen.getvalue()


def test_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = examined(monkeypatch, ["numpy>=1", "rich", 'torch>=99; extra == "train"'])
    assert code == 0 and "everything that a run needs is here" in told
    for expected in ("Python", "numpy", TARGET, "lid.176.ftz", "sluice-32k.tiktoken", "private"):
        assert expected in told
    assert ">=99" not in told, "extras are no part of the default install"


@pytest.mark.parametrize("wanted", ["no-such-library>=3", "numpy>=99", "numpy<1"])
def test_a_library_is_missing(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = examined(monkeypatch, [wanted])
    assert code == 1 and f"pip install '{wanted}'" in told and "missing: " in told


def test_a_model_that_is_another_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "lid.176.ftz"
    other.write_bytes(b"something else")
    monkeypatch.setattr(doctor, "find_language_model", lambda _: other)
    code, told = examined(monkeypatch, [])
    assert code == 1 and "language model" in told and "which is not lid.176.ftz" in told


def test_a_cache_that_others_can_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache").chmod(0o777)
    command = [sys.executable, "-m", "pipeline.cli", "doctor"]
    environment = os.environ | {"SLUICE_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "nobody else may write to" in " ".join(ended.stdout.split())


def test_warming_calls_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = examined(monkeypatch, [], warm=True)
    assert code == 0 and f"{len(doctor.kernel_calls())} compiled or loaded" in told


def kernels() -> set[tuple[str, str]]:
    """(module, function) of everything in the package that is decorated as a kernel."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [d.id for d in getattr(node, "decorator_list", []) if isinstance(d, ast.Name)]
            if isinstance(node, ast.FunctionDef) and "kernel" in names:
                found.add((path.stem, node.name))
    return found


@pytest.mark.slow
def test_after_warming_every_kernel_has_machine_code(tmp_path: Path) -> None:
    """In a fresh cache: each function that a kernel inlines or calls is compiled and kept as well."""
    command = [sys.executable, "-m", "pipeline.cli", "doctor", "--warm"]
    environment = os.environ | {"SLUICE_CACHE": str(tmp_path / "cache")}
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kept = {path.name for path in tmp_path.rglob("*.nbi")}
    missing = [
        f"{module}.{name}" for module, name in kernels() if not any(f"{module}.{name}-" in n for n in kept)
    ]
    assert not missing
