"""Where machine code is kept, for which processor, and every kernel once with bounds checks."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError

from pipeline.kernels import jit
from pipeline.kernels.html_lexer import is_space
from pipeline.kernels.html_scan import scan_page

REPOSITORY = Path(__file__).resolve().parents[3]

EVERY_KERNEL = """
import numba, numpy as np, pyarrow as pa
from pipeline.config import FOLDS
from pipeline.kernels.compare import CONTAINMENT, JACCARD, SIGNATURE, Evidence, match_members
from pipeline.kernels.components import forest_edges, join_edges, new_forest, part_starts
from pipeline.kernels.datasketch import datasketch_signatures
from pipeline.kernels.fold import fold_text
from pipeline.kernels.minhash import band_keys, minhash_signatures
from pipeline.kernels.passages import find_passages
from pipeline.kernels.planted import plant
from pipeline.kernels.shingles import Shingling, shingle_sets
from pipeline.kernels.text import measure_text

lines = ["A first line, don’t you know...", "• 第二行：米酒和茶。", "", "  ", "ไทย ภาษา", "한국어 문장"]
lines = [*lines, "x" * 500, "Ⱥ#1"] * 3
whole = "\\n".join(lines)
ends = [whole.encode()[:cut] for cut in range(60)]
broken = pa.Array.from_buffers(
    pa.string(), len(ends), pa.array(ends, pa.binary()).buffers()
)
healthy = pa.array([whole, None, "", "a", "\\n", "'", "…", "𠀀", whole * 5, "w " * 2000])
for text in (healthy, healthy[:0], broken):
    measure_text(text)
    fold_text(text)
    for fold in FOLDS:
        if text is not broken or "nfkc" not in fold:
            fold_text(text, fold=fold)
    for unit in ("words", "characters"):
        shingling = Shingling(unit, 5, 1_000)
        signatures = minhash_signatures(text, shingling, permutations=7, seed=1).signatures
        band_keys(signatures.drop_null(), bands=3, rows=2)
        datasketch_signatures(text, shingling, permutations=7, seed=1)
        sets = shingle_sets(text, shingling)
        groups, documents = np.array([0, len(text)]), np.arange(len(text))
        for measure in (SIGNATURE, JACCARD, CONTAINMENT):
            follows = documents % 3 == 2
            match_members(groups, documents, follows, Evidence(*sets), measure=measure, least=500_000)
        ids = pa.array([bytes([row] * 16) for row in range(len(text))], pa.binary(16))
        plant(text, ids, shingling, seed=1)
    for unit in ("lines", "paragraphs"):
        find_passages(text, unit=unit, least=1)
tokens = pa.array([[1, 2, 3], None, []], pa.list_(pa.int32()))
minhash_signatures(tokens, Shingling("tokens", 2, 10), permutations=3, seed=1)
starts = part_starts(np.array([50]))
parents = new_forest(starts)
join_edges(parents, starts, np.random.default_rng(1).integers(0, 50, (80, 2)).astype(np.uint64))
list(forest_edges(parents, starts))
print("checked", numba.config.BOUNDSCHECK)
"""


@pytest.mark.slow
def test_every_kernel_stays_in_bounds() -> None:
    """Also on text that ends inside a character. The checked code is kept, so only the first run compiles."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", EVERY_KERNEL], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "checked 1"


def test_bounds_checks_do_find_what_they_are_for(tmp_path: Path) -> None:
    module = tmp_path / "overrun.py"
    module.write_text(
        "import numpy as np\nfrom pipeline.kernels.jit import kernel\n"
        "@kernel\ndef read(array, at):\n    return array[at]\n"
        "print(read(np.zeros(3), 3))\n"
    )
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run([sys.executable, str(module)], env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "IndexError" in run.stderr


def test_the_processor_is_pinned() -> None:
    assert jit.TARGET in ("x86-64-v3", "generic")
    assert numba.config.CPU_NAME == jit.TARGET  # type: ignore[attr-defined]
    assert numba.config.CPU_FEATURES == ""  # type: ignore[attr-defined]


def test_kernels_leave_the_gil_and_cannot_allocate() -> None:
    @jit.kernel
    def grow(length):
        return np.zeros(length)

    assert grow.targetoptions["nogil"] is True  # type: ignore[attr-defined]
    with pytest.raises(NumbaError):
        grow(3)


def test_the_cache_folder_is_private(tmp_path: Path) -> None:
    folder = jit.private_folder(tmp_path / "sluice" / "numba")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert jit.private_folder(folder) == folder


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "sluice" / "numba"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(PermissionError, match="nobody else may write to"):
        jit.private_folder(folder)


def test_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "sluice").mkdir(mode=0o700)
    (tmp_path / "sluice" / "numba").symlink_to(elsewhere)
    with pytest.raises(PermissionError):
        jit.private_folder(tmp_path / "sluice" / "numba")


def test_the_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jit.private_folder(tmp_path / "sluice" / "numba")
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="owner"):
        jit.private_folder(folder)


def test_the_environment_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_BOUNDSCHECK", raising=False)
    plain = jit.cache_folder()
    assert plain.parent == tmp_path / "cache"
    assert plain.name == f"numba-{numba.__version__}"
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert jit.cache_folder().name == f"{plain.name}-checked"


def test_code_is_compiled_again_where_it_depends_on_a_change(tmp_path: Path) -> None:
    """Three modules, of which one imports another: only the first of them has what changed in it."""
    folder = tmp_path / "tokenizer_build"
    folder.mkdir()
    (folder / "one.py").write_text("from tokenizer_build.two import (\n    TWO,\n)\n")
    (folder / "two.py").write_text("TWO = 2\n")
    (folder / "three.py").write_text("from tokenizer_build import four  # four is no module\n")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pipeline.kernels import jit\njit._ROOT = Path(sys.argv[1])\n"
        "for name in ('one', 'two', 'three'):\n"
        "    print(jit.source_digest(jit._ROOT / 'tokenizer_build' / f'{name}.py'))"
    )

    def digests() -> list[str]:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    before = digests()
    (folder / "two.py").write_text("TWO = 3\n")
    after = digests()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
    assert len({*before, *after}) == 5


def test_an_inner_kernel_is_refused_to_python() -> None:
    assert scan_page(b"<p>a").block_count() == 1  # compiled by now
    with pytest.raises(TypeError, match="kernels only"):
        is_space(32)
    with pytest.raises(TypeError, match="kernels only"):
        is_space(32.0)
