"""What a changed recipe would keep, from stored columns: rules, survivors and repeats, without running
anything.

The choices are made by the functions that made them in the run (pipeline/decide), batch by batch; only
members of clusters of two or more are held in memory (about 110 bytes each). Tokens are exact for documents
that the run encoded; for others they are estimated from their characters, by the tokens per character of what
the run kept of the same source and language. Without any change all numbers are those of the run.
Cost: about 20 us per document, most of it reading the lengths of encoded documents.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Recipe
from pipeline.decide import phase as decide
from pipeline.decide.mixture import copies as number_of_copies
from pipeline.decide.mixture import rehydration, repeats_to_micro
from pipeline.decide.provenance import decided_columns
from pipeline.decide.shares import Mixed, mix
from pipeline.decide.survivors import MEMBER, VERDICT, stands_for_itself
from pipeline.decide.thresholds import RULE_NAMES
from pipeline.dedup.earlier import all_parts
from pipeline.parts import read_batches
from pipeline.phase import Job, need_rows
from pipeline.report.lineage import frozen_repeats
from pipeline.report.run_folder import encoded_lengths

Key = tuple[str, str]  # source, language
Repeats = Callable[[Key], int]  # in micro-units
NO_TOKENS = -1  # of a document that the run did not encode
_ROUGH_TOKENS, _ROUGH_CHARACTERS = (
    1,
    4,
)  # where the run kept nothing that could tell: English, by a 32K vocabulary


@dataclass(slots=True)
class Tally:
    """What one recipe keeps of one source and language; `unknown` counts what the run did not encode."""

    documents: int = 0
    validation: int = 0
    tokens: int = 0
    dealt: int = 0  # tokens of all copies with their ends, as they stand in shards
    unknown: int = 0
    unknown_characters: int = 0
    unknown_copies: int = 0
    unknown_dealt_characters: int = 0  # of all copies
    # Training tokens of one pass with their ends, of rehydrated copies and of what was taken down, too.
    passed: int = 0
    unknown_passed: int = 0  # copies of one pass
    unknown_passed_characters: int = 0


@dataclass(slots=True)
class RuleEffect:
    """Documents that a rule stops by one recipe only; one that fails several rules counts in each."""

    caught: int = 0  # they pass it before, and fail it after
    freed: int = 0  # they fail it before, and pass it after


@dataclass(slots=True)
class Simulation:
    """Both recipes' choices over all documents of a run."""

    before: defaultdict[Key, Tally] = field(default_factory=lambda: defaultdict(Tally))
    after: defaultdict[Key, Tally] = field(default_factory=lambda: defaultdict(Tally))
    reasons_before: Counter[str] = field(default_factory=Counter)
    reasons_after: Counter[str] = field(default_factory=Counter)
    rules: dict[str, RuleEffect] = field(default_factory=lambda: {name: RuleEffect() for name in RULE_NAMES})
    kept_characters: Counter[Key] = field(default_factory=Counter)  # of what the run kept: for estimates
    repeats_before: Mapping[Key, int] = field(default_factory=dict)  # micro-units
    repeats_after: Mapping[Key, int] = field(default_factory=dict)
    mixed: Mixed | None = None  # the changed recipe's mixture, if it computes the repeats

    def tokens(self, key: Key) -> int:
        """Tokens of the documents that the changed recipe keeps, each once; exact where none is unknown."""
        tally = self.after[key]
        return tally.tokens + self.estimate(key, tally.unknown_characters)

    def dealt(self, key: Key) -> int:
        """Tokens in shards by the changed recipe, copies and ends included; exact where none is unknown."""
        tally = self.after[key]
        return tally.dealt + self.estimate(key, tally.unknown_dealt_characters) + tally.unknown_copies

    def passed(self, key: Key) -> int:
        """Training tokens of one pass over what the changed recipe keeps; exact where none is unknown."""
        tally = self.after[key]
        return tally.passed + self.estimate(key, tally.unknown_passed_characters) + tally.unknown_passed

    def estimate(self, key: Key, characters: int) -> int:
        """Tokens of so many characters, by what was kept of that source and language, else of the source."""
        for same in (lambda other: other == key, lambda other: other[0] == key[0], lambda other: True):
            known = sum(number for other, number in self.kept_characters.items() if same(other))
            if known:
                return characters * sum(t.tokens for other, t in self.before.items() if same(other)) // known
        return characters * _ROUGH_TOKENS // _ROUGH_CHARACTERS


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The choices of one recipe for one batch."""

    failing: np.ndarray  # bool [rows, rules]
    kept: np.ndarray
    mixed: np.ndarray  # kept, or taken down afterwards: what repeats are computed from
    validation: np.ndarray
    reason: pa.Array


def simulate(job: Job, recipe: Recipe) -> Simulation:
    """The run's choices and those of `recipe`, which is the run's own but for what settings.py allows."""
    changed = replace(job, recipe=recipe)
    verdicts, frozen = _judge(changed), frozen_repeats(job)
    mixed = None
    if recipe.mixture.method == "repeats":
        given = {source.name: repeats_to_micro(source.repeats) for source in recipe.sources}
    else:  # the repeats follow from what is kept, which has to be counted first
        given = dict.fromkeys((source.name for source in recipe.sources), 0)
        counted = _count_parts(job, changed, verdicts, frozen, lambda key: given[key[0]])
        mixed = mix(recipe, {key: counted.passed(key) for key in list(counted.after)})

    def after(key: Key) -> int:
        return given[key[0]] if mixed is None else mixed.repeats[key]

    simulation = _count_parts(job, changed, verdicts, frozen, after)
    simulation.mixed, simulation.repeats_before = mixed, frozen
    simulation.repeats_after = {key: after(key) for key in simulation.after}
    return simulation


def _count_parts(
    job: Job, changed: Job, verdicts: Mapping[int, np.ndarray], frozen: Mapping[Key, int], after: Repeats
) -> Simulation:
    """Counts what both recipes keep, with these repeats in micro-units."""
    simulation = Simulation()
    for part in range(job.parts):
        rows, lengths = encoded_lengths(job, part, taken=True)
        mine = verdicts[part] if part in verdicts else np.zeros(0, VERDICT)
        for batch in _choose_both(job, changed, part, mine):
            tokens = np.full(len(batch.ids), NO_TOKENS, np.int64)
            here = slice(*np.searchsorted(rows, [batch.first_row, batch.first_row + len(tokens)]).tolist())
            tokens[rows[here].astype(np.int64) - batch.first_row] = lengths[here]
            _tally(simulation.before, job.recipe, batch, batch.before, tokens, frozen.__getitem__)
            _tally(simulation.after, changed.recipe, batch, batch.after, tokens, after)
            _count(simulation, batch)
    return simulation


def _judge(job: Job) -> dict[int, np.ndarray]:
    """VERDICT rows by part."""
    found = [np.zeros(0, MEMBER)]
    for part in all_parts(job):
        found += decide.find_members(job, part)
    members = np.concatenate(found)
    del found
    parts, verdicts = decide.judge_members(job, members)
    return {int(part): verdicts[parts == part] for part in np.unique(parts)}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Documents of one part (so of one source), and the choices of both recipes."""

    first_row: int
    source: str
    ids: pa.Array
    languages: dict[str, np.ndarray]  # bool [rows] for every language in it
    characters: np.ndarray
    cluster_sizes: np.ndarray
    before: _Chosen
    after: _Chosen


def _choose_both(job: Job, changed: Job, part: int, verdicts: np.ndarray) -> Iterator[_Batch]:
    """The stored decisions of a part and the new ones, batch by batch."""
    file = need_rows(job, "decisions", [part])[0].file("decisions")
    stored = read_batches(job.storage(), file, columns=["kept", "validation", "reason", "survivor"])
    columns = list(dict.fromkeys([*decided_columns(job), *decided_columns(changed)]))
    first = 0
    for joined, decisions in zip(decide.joined_batches(job, part, columns), stored, strict=True):
        documents, measures, clusters = joined
        here = verdicts[(verdicts["row"] >= first) & (verdicts["row"] < first + documents.num_rows)]
        failing = decide.evaluate_rules(changed, documents, measures)
        locator = schema.locator(part, first)
        after = decide.decide_batch(changed, locator, documents, clusters, failing, here)
        yield _Batch(
            first,
            documents["source"][0].as_py(),
            documents["id"],
            _by_language(measures["language"]),
            measures["characters"].to_numpy().astype(np.int64),
            clusters["cluster_size"].to_numpy(),
            _chosen(decide.evaluate_rules(job, documents, measures), decisions, locator),
            _chosen(failing, after, locator),
        )
        first += documents.num_rows


def _chosen(failing: np.ndarray, decisions: pa.RecordBatch, first: int) -> _Chosen:
    kept, validation = (decisions[name].to_numpy(zero_copy_only=False) for name in ("kept", "validation"))
    mixed = stands_for_itself(decisions["survivor"], first)
    return _Chosen(failing, kept, mixed, validation, decisions["reason"])


def _by_language(languages: pa.Array) -> dict[str, np.ndarray]:
    encoded = languages.dictionary_encode()
    codes = encoded.indices.to_numpy()
    return {language: codes == code for code, language in enumerate(encoded.dictionary.to_pylist())}


def _count(simulation: Simulation, batch: _Batch) -> None:
    """Adds the reasons and rules of one batch, and the characters of what the run kept of it."""
    for language, among in batch.languages.items():
        kept = int(batch.characters[among & batch.before.kept].sum())
        simulation.kept_characters[batch.source, language] += kept
    for chosen, reasons in (
        (batch.before, simulation.reasons_before),
        (batch.after, simulation.reasons_after),
    ):
        reasons.update(reason for reason in chosen.reason.to_pylist() if reason)
    for number, name in enumerate(RULE_NAMES):
        old_fails, new_fails = batch.before.failing[:, number], batch.after.failing[:, number]
        simulation.rules[name].caught += int(np.count_nonzero(new_fails & ~old_fails))
        simulation.rules[name].freed += int(np.count_nonzero(old_fails & ~new_fails))


def _tally(
    tallies: defaultdict[Key, Tally],
    recipe: Recipe,
    batch: _Batch,
    chosen: _Chosen,
    tokens: np.ndarray,
    repeats: Repeats,
) -> None:
    """Adds what one recipe keeps of a batch; `tokens` has NO_TOKENS where the run encoded nothing."""
    factors = rehydration(batch.cluster_sizes, recipe.decide.rehydrate)
    micro = np.zeros(len(tokens), np.int64)
    of_language = {language: among & chosen.mixed for language, among in batch.languages.items()}
    of_language = {language: mixed for language, mixed in of_language.items() if mixed.any()}
    for language, mixed in of_language.items():
        micro[mixed] = repeats((batch.source, language))
    copies = number_of_copies(batch.ids, micro * factors, seed=recipe.seed).astype(np.int64)
    copies = np.where(chosen.validation, 1, copies)
    passed = np.where(chosen.validation, 0, factors)
    for language, mixed in of_language.items():
        kept = mixed & chosen.kept
        known, unknown = kept & (tokens != NO_TOKENS), kept & (tokens == NO_TOKENS)
        tally = tallies[batch.source, language]
        tally.documents += int(np.count_nonzero(kept))
        tally.validation += int(np.count_nonzero(kept & chosen.validation))
        tally.tokens += int(tokens[known].sum())
        tally.dealt += int((copies[known] * (tokens[known] + 1)).sum())
        tally.unknown += int(np.count_nonzero(unknown))
        tally.unknown_characters += int(batch.characters[unknown].sum())
        tally.unknown_copies += int(copies[unknown].sum())
        tally.unknown_dealt_characters += int((copies[unknown] * batch.characters[unknown]).sum())
        known, unknown = mixed & (tokens != NO_TOKENS), mixed & (tokens == NO_TOKENS)
        tally.passed += int((passed[known] * (tokens[known] + 1)).sum())
        tally.unknown_passed += int(passed[unknown].sum())
        tally.unknown_passed_characters += int((passed[unknown] * batch.characters[unknown]).sum())
