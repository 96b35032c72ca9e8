"""The house keeps its order: imports go one way, files stay small, names say what a thing is."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "tokenizer_build", "model", "train")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LONGEST = 300  # lines
VAGUE = {"utils", "util", "helpers", "common", "base", "misc", "manager", "core"}

# Who may import whom, outside of its own package.
ALLOWED = {
    # The two modules know nothing of the pipeline: how kernels are compiled, and Arrow columns as arrays.
    "tokenizer_build": {"pipeline.kernels.jit", "pipeline.kernels.buffers"},
    "model": set(),
    "pipeline": {"tokenizer_build"},
    "train": {"model", "tokenizer_build", "pipeline.pack.shards"},
}
# Layers inside pipeline, lowest first; a module imports from its own layer (see STAGES) and from those below.
BOTTOM = {"config", "schema", "storage", "ledger", "parts", "timings", "recipe_file", "kernels"}
BOTTOM |= {
    "recipe_check",
    "perplexity_check",
    "counts",
    "rules",
    "rule_sets",
    "spool",
    "thresholds",
    "score_model",
}
MACHINERY = {"phase", "plan", "sandbox", "sandbox_child"}
STAGES = ("annotate", "dedup", "decide", "pack", "report")
# Modules of stages that hold steps: they read and commit parts, and may know other stages.
STEPS = {"phase", "split", "derived", "tokens", "repeats_step", "lists", "provenance", "takedowns", "taken"}
STEPS |= {"percentiles", "earlier", "texts", "verified", "components", "stars", "clusters", "quality"}


def imports(path: Path) -> list[str]:
    """Every module that a file imports, at the top or inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_there_are_sources() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_a_file_is_one_thing(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST, f"{len(lines)} lines: this is two things"
    if path.name == "__init__.py":
        assert not lines, "packages have empty __init__ files"
        return
    assert ast.get_docstring(ast.parse(path.read_text())), "a module says what it is and why"
    assert path.stem not in VAGUE
    assert path.stem not in sys.stdlib_module_names, "shadows the standard library for whoever runs beside it"


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_packages_import_one_way(path: Path) -> None:
    own = module(path).split(".")[0]
    for name in imports(path):
        other = name.split(".")[0]
        if other in PACKAGES and other != own:
            assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[own]), name


@pytest.mark.parametrize("name", sorted(ALLOWED["tokenizer_build"]))
def test_what_the_tokenizer_takes_of_the_pipeline_is_a_leaf(name: str) -> None:
    path = ROOT / (name.replace(".", "/") + ".py")
    assert {other.split(".")[0] for other in imports(path)} <= sys.stdlib_module_names | {
        "llvmlite",
        "numba",
        "numpy",
        "pyarrow",
    }


def test_top_level_names_are_no_library() -> None:
    """`torchrun train/pretrain.py` puts train/ on the path: its modules must not hide a library."""
    libraries = set(packages_distributions())
    for path in (ROOT / "train").glob("*.py"):
        assert path.stem not in libraries


def layer(name: str) -> int:
    """0 bottom, 1 stages, 2 machinery and phases, 3 what runs them."""
    parts = name.split(".")[1:]
    if not parts or parts[0] in BOTTOM:
        return 0
    if parts[0] in STAGES:
        return 2 if parts[0] == "report" or (len(parts) > 1 and parts[1] in STEPS) else 1
    return 2 if parts[0] in MACHINERY else 3


@pytest.mark.parametrize("path", [p for p in SOURCES if module(p).startswith("pipeline.")], ids=module)
def test_layers_of_the_pipeline(path: Path) -> None:
    name = module(path)
    if "quickstart" in name or name.endswith("__init__"):
        return
    for other in imports(path):
        if other.startswith("pipeline."):
            assert layer(other) <= layer(name), (
                f"{name} (layer {layer(name)}) imports {other} (layer {layer(other)})"
            )
            inner, outer = name.split(".")[1], other.split(".")[1]
            if layer(name) == layer(other) == 1 and inner in STAGES and outer in STAGES:
                assert inner == outer, f"stages of {inner} and {outer} know each other"


def test_shards_need_neither_beam_nor_numba() -> None:
    """The trainer reads shards with this module alone."""
    seen, left = set(), ["pipeline.pack.shards"]
    while left:
        name = left.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for other in imports(path):
            assert other.split(".")[0] not in ("apache_beam", "numba", "fasttext", "trafilatura"), (
                f"{name}: {other}"
            )
            left += [other, other.rsplit(".", 1)[0]]
    assert "pipeline.pack.shards" in seen
