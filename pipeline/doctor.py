"""`sluice doctor`: what this machine has of what a run needs, and where it is; `--warm` compiles all kernels.

Nothing is downloaded and nothing is changed but the kernels' own cache folder: created if it is not there,
and filled by `--warm`, so that images and fresh workers start at full speed.
"""

import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from packaging.requirements import Requirement
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pipeline.annotate.language import PACKAGED_MODEL, PACKAGED_MODEL_SHA256, find_language_model
from pipeline.parts import file_sha256
from pipeline.report.summary import human_bytes
from tokenizer_build.vocabulary import NAMED, find_vocabulary

DISTRIBUTION = "sluice-corpus"
_SMALL_VOCABULARY = "sluice-32k"
# import name -> what it is for, and the command that gets it
_EXTRAS = {
    "rjieba": ("Chinese words of a dictionary, for rules on them", f"pip install '{DISTRIBUTION}[zh]'"),
    "kenlm": ("perplexity by KenLM's own binaries", f"pip install '{DISTRIBUTION}[lm]'"),
    "torch": ("training", f"pip install '{DISTRIBUTION}[train]'"),
}
_SAMPLE = pa.array(["The tide comes in.\nThe tide comes in.\n\n- one…\n", "水门开了，潮水进来。🌊"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table; `state` is ok, missing (every run needs it) or optional (absent, not needed)."""

    topic: str
    state: str
    told: str


def examine(console: Console, *, warm: bool) -> int:
    """Prints what is there; 0 if everything that the default install needs is, else 1."""
    findings = [*_machine(), *_libraries(), *_models(), *_perplexity_models(), *_vocabularies()]
    findings += [*_kernels(), *_extras()]
    if warm and not any(
        finding.topic == "kernel cache" and finding.state == "missing" for finding in findings
    ):
        findings.append(_warm(console))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    colours = {"ok": "green", "missing": "bold red", "optional": "yellow"}
    for finding in findings:
        table.add_row(finding.topic, Text(finding.state, style=colours[finding.state]), Text(finding.told))
    console.print(table, highlight=False)
    missing = [finding.topic for finding in findings if finding.state == "missing"]
    verdict = f"missing: {', '.join(missing)}" if missing else "everything that a run needs is here"
    console.print(Text(verdict, style="bold red" if missing else "green"))
    return 1 if missing else 0


def _machine() -> Iterator[Finding]:
    cores, all_cores = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    memory = psutil.virtual_memory()
    yield Finding("Python", "ok", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("platform", "ok", platform.platform())
    yield Finding("cores", "ok", f"{cores} of {all_cores}" if cores != all_cores else f"{cores}")
    yield Finding("memory", "ok", f"{human_bytes(memory.total)}, {human_bytes(memory.available)} available")


def _libraries() -> Iterator[Finding]:
    """The libraries that this distribution's own metadata asks for, with the versions that it asks for."""
    try:
        wanted = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield Finding(DISTRIBUTION, "missing", f"not installed as a distribution: pip install {DISTRIBUTION}")
        return
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _library(requirement)


def _library(requirement: Requirement) -> Finding:
    install = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, "missing", install)
    if not requirement.specifier.contains(installed, prereleases=True):
        return Finding(requirement.name, "missing", f"{installed} is not {requirement.specifier}: {install}")
    return Finding(requirement.name, "ok", installed)


def _models() -> Iterator[Finding]:
    try:
        path = find_language_model(PACKAGED_MODEL)
    except FileNotFoundError as error:
        yield Finding("language model", "missing", str(error))
        return
    sha256 = file_sha256(path)
    told = f"{path}, {human_bytes(path.stat().st_size)}, sha256 {sha256}"
    if sha256 != PACKAGED_MODEL_SHA256:
        yield Finding("language model", "missing", f"{told}, which is not {PACKAGED_MODEL}")
        return
    yield Finding("language model", "ok", told)


def _perplexity_models() -> Iterator[Finding]:
    try:  # with kernels, which a cache folder that is not private refuses
        from pipeline.annotate.perplexity import PACKAGED, check_model, find_model
    except (ImportError, OSError):
        return  # _kernels tells
    for name in PACKAGED:
        try:
            path = find_model(name)
            check_model(path)
        except (OSError, ValueError) as error:
            yield Finding(f"model {name}", "missing", str(error))
            continue
        told = f"{path}, {human_bytes(path.stat().st_size)}, sha256 {file_sha256(path)}"
        yield Finding(f"model {name}", "ok", told)


def _vocabularies() -> Iterator[Finding]:
    for name in NAMED:
        absent = "missing" if NAMED[name].package == "tokenizer_build" else "optional"
        try:
            path = find_vocabulary(name)
        except (FileNotFoundError, ValueError) as error:
            yield Finding(f"vocabulary {name}", absent, str(error))
            continue
        told = f"{path}, {human_bytes(path.stat().st_size)}, sha256 {file_sha256(path)}"
        yield Finding(f"vocabulary {name}", "ok", told)


def _kernels() -> Iterator[Finding]:
    # Numba is configured when this module is imported, and a cache folder that is not private refuses then.
    try:
        from pipeline.kernels.jit import TARGET, cache_folder

        folder = cache_folder()
    except (ImportError, OSError) as error:
        yield Finding("kernel cache", "missing", str(error))
        return
    yield Finding("kernel target", "ok", TARGET)
    size = sum(file.stat().st_size for file in folder.rglob("*.nbc"))
    filled = f"{human_bytes(size)} of machine code" if size else "empty: `sluice doctor --warm` fills it"
    yield Finding("kernel cache", "ok", f"{folder}, private, {filled}")


def _extras() -> Iterator[Finding]:
    for name, (purpose, install) in _EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "optional", f"for {purpose}: {install}")
        else:
            yield Finding(name, "ok", version(name))


# --- compiling ahead ----------------------------------------------------------------------


def _warm(console: Console) -> Finding:
    """Calls every kernel once, which compiles it or loads its machine code."""
    calls = kernel_calls()
    start = time.monotonic()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("compiling kernels", total=len(calls))
        for name, call in calls.items():
            progress.update(task, description=f"compiling {name}")
            call()
            progress.advance(task)
    return Finding("kernels", "ok", f"{len(calls)} compiled or loaded in {time.monotonic() - start:.1f} s")


def kernel_calls() -> dict[str, Callable[[], Any]]:
    """A call on a tiny batch for every public function that runs a kernel, by its name."""
    from pipeline.annotate.classifier_file import compile_classifier
    from pipeline.annotate.extract.main_text import extract_main_text
    from pipeline.annotate.perplexity import warm_scoring
    from pipeline.annotate.score_models import find_classifier
    from pipeline.annotate.word_lists import count_flagged, table_of
    from pipeline.kernels import (
        c4,
        chinese,
        code_files,
        compare,
        components,
        datasketch,
        fold,
        minhash,
        ngrams,
        personal_data,
        planted,
        repetition_variants,
        scripts,
        shingles,
        spacy_tokens,
        text,
    )
    from tokenizer_build.tokenizer import Tokenizer

    shingling = shingles.Shingling("words", 2, 1_000)
    starts = components.part_starts(np.array([4]))
    ids = pa.array([bytes(16)] * len(_SAMPLE), pa.binary(16))
    evidence = compare.Evidence(np.array([0, 1, 2]), np.zeros(2, np.uint32))
    index = ngrams.build_index(np.arange(1, 3, dtype=np.uint64), np.array([13, 13]))

    def sign() -> pa.Array:
        return minhash.minhash_signatures(_SAMPLE, shingling, permutations=4, seed=1).signatures

    def encode() -> pa.Array:
        tokenizer = Tokenizer.load(_SMALL_VOCABULARY)
        return tokenizer.decode_batch(tokenizer.encode_batch(_SAMPLE))

    return {
        "main_text.extract_main_text": lambda: extract_main_text("<p>Gold stays, gravel goes.</p>" * 9),
        "text.measure_text": lambda: text.measure_text(_SAMPLE),
        "scripts.count_scripts": lambda: scripts.count_scripts(_SAMPLE),
        "c4.measure_c4": lambda: c4.measure_c4(_SAMPLE),
        "chinese.measure_chinese": lambda: chinese.measure_chinese(_SAMPLE),
        "code_files.measure_code": lambda: code_files.measure_code(_SAMPLE),
        "repetition_variants.measure_dclm": lambda: repetition_variants.measure_dclm(_SAMPLE),
        "repetition_variants.measure_dolma": lambda: repetition_variants.measure_dolma(_SAMPLE),
        "spacy_tokens.measure_spacy": lambda: spacy_tokens.measure_spacy(_SAMPLE),
        "ngrams.find_ngrams": lambda: ngrams.find_ngrams(_SAMPLE, index),
        "personal_data.find_personal_data": lambda: personal_data.find_personal_data(_SAMPLE),
        "classifier.sum_features": lambda: compile_classifier(find_classifier("quality-en")).probabilities(
            _SAMPLE
        ),
        "phrase_search.count_phrases": lambda: count_flagged(_SAMPLE, table_of({"bias": ["none"]})),
        "lm.score_lines": warm_scoring,
        "fold.fold_text": lambda: fold.fold_text(_SAMPLE),
        "minhash.minhash_signatures": sign,
        "minhash.band_keys": lambda: minhash.band_keys(sign(), bands=2, rows=2),
        "shingles.shingle_sets": lambda: shingles.shingle_sets(_SAMPLE, shingling),
        "datasketch.datasketch_signatures": lambda: datasketch.datasketch_signatures(
            _SAMPLE, shingling, permutations=4, seed=1
        ),
        "tokenizer.encode_batch": encode,
        "planted.plant": lambda: planted.plant(_SAMPLE, ids, shingling, seed=1),
        "compare.match_members": lambda: compare.match_members(
            np.array([0, 2]), np.arange(2), np.zeros(2, bool), evidence, measure=compare.SIGNATURE, least=1
        ),
        "components.join_edges": lambda: components.join_edges(
            components.new_forest(starts), starts, np.array([[1, 2], [2, 3]], np.uint64)
        ),
    }
