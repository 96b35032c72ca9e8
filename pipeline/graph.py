"""The five phases in order: read this first.

Annotate finds text and measures, Deduplicate finds clusters, Decide makes every choice from stored columns,
Pack writes token rows, Report balances the ledger and writes the manifest. Any contiguous set of phases
becomes one Beam pipeline; inside it, a step starts when the step before it has committed everything. An
element is a description of work or a block of packed numbers, always (int, bytes): document text never
crosses an edge.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from pipeline.annotate import phase as annotate
from pipeline.config import MAX_ROUNDS, Recipe
from pipeline.decide import lists, percentiles, repeats_step, tokens
from pipeline.decide import phase as decide
from pipeline.dedup import clusters, components, quality, stars, verified
from pipeline.dedup import phase as dedup
from pipeline.pack import phase as pack
from pipeline.phase import Job, Step
from pipeline.report import phase as report
from pipeline.spool import SpoolWriter, drop_blocks, read_block


@dataclass(frozen=True, slots=True)
class Phase:
    """A named group of steps."""

    name: str
    steps: tuple[Step, ...]


def phases_of(recipe: Recipe) -> tuple[Phase, ...]:
    """The phases of a recipe in order, without the steps that it has no use for."""
    by_stars = recipe.deduplicate.components == "stars"
    joined = stars.star_steps(recipe.deduplicate.rounds) if by_stars else (components.COMPONENTS,)
    compared = (dedup.CANDIDATES, dedup.GROUPS, verified.VERIFIED)
    cut = () if recipe.decide.repeated == "none" else (repeats_step.REPEATS,)
    decide_by = recipe.decide
    listed = (lists.LISTS,) if decide_by.block_lists or decide_by.allow_lists else ()
    listed += (percentiles.PERPLEXITY,) if recipe.annotate.perplexity else ()
    return (
        Phase("annotate", (annotate.DOCUMENTS,)),
        Phase("deduplicate", (*compared, *joined, clusters.CLUSTERS, *quality.STEPS)),
        Phase("decide", (*listed, decide.DECISIONS, *cut, tokens.ENCODED, tokens.MIXTURE)),
        Phase("pack", (pack.EXCHANGE, pack.SHARDS)),
        Phase("report", (report.REPORT,)),
    )


# Every step that a recipe can ask for; a worker finds its own by name.
STEPS = {
    step.name: step
    for step in (
        annotate.DOCUMENTS,
        dedup.CANDIDATES,
        dedup.GROUPS,
        verified.VERIFIED,
        components.COMPONENTS,
        *stars.star_steps(MAX_ROUNDS),
        clusters.CLUSTERS,
        *quality.STEPS,
        lists.LISTS,
        percentiles.PERPLEXITY,
        decide.DECISIONS,
        repeats_step.REPEATS,
        tokens.ENCODED,
        tokens.MIXTURE,
        pack.EXCHANGE,
        pack.SHARDS,
        report.REPORT,
    )
}

_View = TypeVar("_View", bound=PipelineOptions)
Element = tuple[int, bytes]
Group = tuple[int, Iterable[bytes]]
# First byte of a value: what a plan gave for a key, a block of packed rows for it, or where such a block
# lies.
_PAYLOAD, _ROWS, _PLACE = b"p", b"r", b"s"


def build(pipeline: beam.Pipeline, job: Job, phases: Sequence[Phase], spool: str | None = None) -> None:
    """Adds all steps of contiguous phases to a Beam pipeline, one after the other.

    `spool`: a folder that all workers share, for runners that shuffle in memory (see spool.py).
    """
    ready = pipeline | "start" >> beam.Create([(0, b"")], reshuffle=False).with_output_types(Element)
    for phase in phases:
        for step in phase.steps:
            ready = _add_step(ready, job, step, spool)


def _add_step(ready: PCollection[Element], job: Job, step: Step, spool: str | None) -> PCollection[Element]:
    """Plan → (shuffle) → finish; returns one element that comes when every key has been committed."""
    name = step.name
    work = ready | f"{name}: plan" >> beam.ParDo(PlanStep(job, name)).with_output_types(Element)
    for number in range(len(step.scatters)):
        grouped = work | f"{name}: group {number}" >> beam.GroupByKey()
        work = grouped | f"{name}: scatter {number}" >> beam.ParDo(
            ScatterStep(job, name, number, spool)
        ).with_output_types(Element)
    if step.keys is not None:
        keys = ready | f"{name}: keys" >> beam.ParDo(KeysStep(job, name)).with_output_types(Element)
        work = (work, keys) | f"{name}: join" >> beam.Flatten()
    grouped = work | f"{name}: hand out" >> beam.GroupByKey()
    finished = grouped | f"{name}: finish" >> beam.ParDo(FinishStep(job, name, spool)).with_output_types(
        Element
    )
    # The barrier: `ready` takes part so that a step without any work left still lets the next one start.
    ended = (finished, ready) | f"{name}: ended" >> beam.Flatten()
    waited = ended | f"{name}: barrier" >> beam.GroupByKey()
    return waited | f"{name}: ready" >> beam.ParDo(Ready(name, spool)).with_output_types(Element)


class Options(PipelineOptions):
    """Pipeline options that parse their flags once per view: Beam asks for views a thousand times while it
    builds and runs a job, and parses all flags for each, a tenth of the time of a small run.

    All views share their values, as ever.
    """

    def view_as(self, cls: type[_View]) -> _View:
        """The options as another class."""
        views = self.__dict__.setdefault("_views", {})  # not by attribute, which would be an option
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


class _Work(beam.DoFn):
    """A DoFn that has `process` only.

    Beam goes through dir() of a DoFn eight times for parameters of state and timers, and inspects the
    signature of all thirty methods: a tenth of the time of a small run.
    """

    def __dir__(self) -> list[str]:
        return ["process"]


class PlanStep(_Work):
    """What is left to do of a step, decided when the step starts."""

    def __init__(self, job: Job, step: str) -> None:
        self._job, self._step = job, step

    def process(self, element: Element) -> Iterator[Element]:
        step = STEPS[self._step]
        work = list(step.plan(self._job))
        if step.keys is None:
            announce(self._job, self._step, len(work))
        for key, payload in work:
            yield key, _PAYLOAD + payload


class KeysStep(PlanStep):
    """Every key that a shuffled step must finish."""

    def process(self, element: Element) -> Iterator[Element]:
        keys = STEPS[self._step].keys
        work = list(keys(self._job)) if keys else []
        announce(self._job, self._step, len(work))
        for key, payload in work:
            yield key, _PAYLOAD + payload


class ScatterStep(_Work):
    """One keyed function of a step; its rows go on as blocks."""

    def __init__(self, job: Job, step: str, number: int, spool: str | None) -> None:
        self._job, self._step, self._number, self._spool = job, step, number, spool

    def process(self, element: Group) -> Iterator[Element]:
        payload, blocks = _open_group(element[1], self._spool, self._step, self._number)
        scatter = STEPS[self._step].scatters[self._number]
        rows = scatter(self._job, element[0], payload or b"", blocks)
        if self._spool is None:
            yield from ((key, _ROWS + block) for key, block in rows)
            return
        with SpoolWriter(self._spool, self._step, self._number + 1, element[0]) as spooled:
            yield from ((key, _PLACE + spooled.put(block)) for key, block in rows)


class FinishStep(_Work):
    """The end of a step for one key: commits a part."""

    def __init__(self, job: Job, step: str, spool: str | None) -> None:
        self._job, self._step, self._spool = job, step, spool

    def process(self, element: Group) -> Iterator[Element]:
        shuffles = len(STEPS[self._step].scatters)
        payload, blocks = _open_group(element[1], self._spool, self._step, shuffles)
        if payload is not None:  # else rows came for a key that was finished by an earlier run
            STEPS[self._step].finish(self._job, element[0], payload, blocks)
            yield 0, b""


class Ready(_Work):
    """One element after a barrier: what the step shuffled is no longer needed."""

    def __init__(self, step: str, spool: str | None) -> None:
        self._step, self._spool = step, spool

    def process(self, element: Group) -> Iterator[Element]:
        if self._spool is not None:
            drop_blocks(self._spool, self._step)
        yield 0, b""


def announce(job: Job, step: str, left: int) -> None:
    """Tells whoever watches how many commit rows a step will put."""
    job.storage().put_note(f"work/progress/{step}", str(left).encode())


def _open_group(
    values: Iterable[bytes], spool: str | None, step: str, shuffle: int
) -> tuple[bytes | None, list[bytes]]:
    """Parts the payload of a key from its blocks; given twice (a retry), it is the same."""
    payload, blocks = None, []
    for value in values:
        if value[:1] == _PAYLOAD:
            payload = value[1:]
        elif spool is not None and value[:1] == _PLACE:
            blocks.append(read_block(spool, step, shuffle, value[1:]))
        else:
            blocks.append(value[1:])
    return payload, blocks
