"""The one place where Numba is configured: what a kernel is, for which processor, where its code is kept.

A kernel releases the GIL, keeps IEEE arithmetic, and is compiled once per machine: the first call in a fresh
folder compiles (seconds), later processes load the machine code (milliseconds). Kernels compile at their
first call, not at import, so importing a stage costs nothing; every caller passes the same array types (see
`buffers`), so each kernel has one compiled form.

A kernel cannot allocate: its caller passes results and scratch memory in, sized from the batch. In return
Numba's reference counts go (`_nrt=False`), which would be taken around every small function that is handed an
array: the word scanner runs ten times as fast without them. A kernel that allocates does not compile (Numba
then says "Only accept returning of array passed into the function" or "NRT required").

Numba's cache is pickle: whoever can write the folder can run code as us. So it is private (0700), and a
folder that belongs to another user, or that others may write to, is refused. Numba looks only at a function's
own file for changes, but kernels of other files are compiled into it, and their constants. So every module
has a folder of its own, whose name carries a digest of the module and of all that it imports of ours: what
depends on a change is compiled again, and nothing else. Old folders may be deleted at any time.

The processor is pinned: every x86 host with AVX2 runs the same code, never "whatever this host has". Results
do not depend on it (kernels compute in integers), the cache and the speed do. `TARGET` goes into the
manifest. NUMBA_BOUNDSCHECK=1 compiles checked kernels into a folder of their own.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(r"^from ((?:pipeline|tokenizer_build)[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)

# The x86-64 psABI's level 3 (Haswell, 2013, and every server since), in LLVM's names.
_LEVEL_3_FEATURES = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")


def pinned_target() -> str:
    """LLVM name of the processor to compile for: "x86-64-v3" where the host runs that, else "generic"."""
    if not binding.get_process_triple().startswith("x86_64"):
        return "generic"
    features = binding.get_host_cpu_features()
    return "x86-64-v3" if all(features.get(name, False) for name in _LEVEL_3_FEATURES) else "generic"


@cache
def _own_imports(path: Path) -> frozenset[Path]:
    """Our modules that a source file imports, by whole lines `from a.b import c`."""
    found = set()
    for module, names in _IMPORT.findall(path.read_text()):
        folder = _ROOT.joinpath(*module.split("."))
        beside = (folder / f"{name}.py" for name in re.findall(r"\w+", names))
        found |= {file for file in (folder.with_suffix(".py"), *beside) if file.is_file()}
    return frozenset(found)


@cache
def source_digest(path: Path) -> str:
    """Twelve hex digits over a source file and all that it imports of ours, in the order of their paths."""
    files, waiting = {path}, [path]
    while waiting:
        new = _own_imports(waiting.pop()) - files
        files |= new
        waiting += new
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(files):
        digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def private_folder(folder: Path) -> Path:
    """Create `folder` with mode 0700, or check that only we may write to it; PermissionError if not."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    for place in (folder.parent, folder):
        status = place.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(
                f"kernel cache {place}: must be a folder of this user that nobody else may write to "
                f"(it has owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}); "
                "set SLUICE_CACHE to another folder, or take the write permission of group and others away"
            )
    return folder


def cache_folder() -> Path:
    """Where machine code is kept: under $SLUICE_CACHE, else ~/.cache/sluice."""
    root = Path(os.environ.get("SLUICE_CACHE") or Path.home() / ".cache" / "sluice")
    checked = "-checked" if os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0") else ""
    return private_folder(root / f"numba-{numba.__version__}{checked}")


def _keep_code_of(function: Callable[..., Any]) -> None:
    """Points Numba to the folder of a function's module.

    Through the environment, because Numba reads it again whenever it finds it changed, and would forget
    attributes.
    """
    path = Path(function.__code__.co_filename).resolve()
    folder = str(_CACHE / f"{path.stem}-{source_digest(path)}")
    if os.environ.get("NUMBA_CACHE_DIR") != folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        numba.config.reload_config()  # type: ignore[attr-defined]


TARGET = pinned_target()
_CACHE = cache_folder()
os.environ["NUMBA_CPU_NAME"] = TARGET
os.environ["NUMBA_CPU_FEATURES"] = ""
os.environ["NUMBA_CACHE_DIR"] = str(_CACHE)
numba.config.reload_config()  # type: ignore[attr-defined]


def kernel(function: Kernel) -> Kernel:
    """Compile `function` at its first call, without GIL, fast-math or allocation, and keep its code."""
    _keep_code_of(function)
    return numba.njit(nogil=True, cache=True, fastmath=False, _nrt=False)(function)  # type: ignore[return-value]


def inlined(function: Kernel) -> Kernel:
    """A kernel that is copied into the kernels that call it, instead of being called.

    For what is called once per word or token and takes many arrays: a call hands over seven words for each.
    """
    _keep_code_of(function)
    options = {"nogil": True, "cache": True, "fastmath": False, "_nrt": False, "forceinline": True}
    return numba.njit(**options)(function)  # type: ignore[return-value]


def inner(function: Kernel) -> Kernel:
    """A kernel that only kernels call: no wrappers for Python and C, which are a fifth of the compile time.

    Called from Python it raises TypeError.
    """
    _keep_code_of(function)
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    options = {"nogil": True, "cache": True, "fastmath": False, "_nrt": False, **wrappers}
    compiled: Any = numba.njit(**options)(function)  # type: ignore[call-overload]
    # Numba would else enter a null pointer as what Python is to call.
    compiled._insert = lambda *entry, **options: None
    compiled._compile_for_args = _refuse
    return compiled


def _refuse(*arguments: object, **options: object) -> None:
    raise TypeError("this kernel can be called from kernels only")


@intrinsic
def load_eight(typing_context, text, at):  # type: ignore[no-untyped-def]
    """Eight bytes of a uint8 array from `at` on as a uint64, the first one lowest; the caller sees to it that
    they are there. (NumPy has no load that need not be aligned.)
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(text, types.int64), generate


@intrinsic
def count_zeros(typing_context, value):  # type: ignore[no-untyped-def]
    """Zero bits below the lowest set bit of a uint64, 64 if there is none."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(typing_context, array, at):  # type: ignore[no-untyped-def]
    """Have the cache fetch what lies at flat index `at` of a contiguous array, inside it or not."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = ir.IntType(8).as_pointer()
        content = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(content, [arguments[1]]), pointer)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(function, [place, number(0), number(3), number(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
