"""What is made of stored text, row by row aligned with documents/: measures, and signatures.

Signatures stand beside the digest of the folded text and what was too short or too long to be signed whole.
Each has a fingerprint of its own: a changed model or shingle size reads no page again.
"""

from collections.abc import Collection
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.annotate.decontaminate import HASH_NAME, find_overlaps, open_index
from pipeline.annotate.digests import text_digests
from pipeline.annotate.measure import measure_documents
from pipeline.annotate.perplexity import models_of, perplexity_made_of, score_documents, warm_scoring
from pipeline.annotate.score_models import load_scorers, scores_made_of
from pipeline.annotate.segment import SEGMENTED
from pipeline.config import Source
from pipeline.counts import MEASURE_GROUPS
from pipeline.kernels.compare import JACCARD, similarity_ppm
from pipeline.kernels.datasketch import datasketch_signatures
from pipeline.kernels.keyed import id_words
from pipeline.kernels.minhash import band_keys, minhash_signatures
from pipeline.kernels.personal_data import find_personal_data
from pipeline.kernels.planted import choose_planted, plant
from pipeline.kernels.scripts import count_scripts
from pipeline.kernels.shingles import Shingling, shingle_sets
from pipeline.kernels.text import measure_text
from pipeline.ledger import IN, OUT, Count
from pipeline.pack.encode import encoding, load_encoder
from pipeline.parts import PartWriter
from pipeline.phase import Job, Row, commit, fingerprint
from pipeline.rules import measured_groups
from pipeline.timings import Timings

_MEASURES_VERSION = 7
_SIGNATURES_VERSION = 4

MEASURES, SIGNATURES, OVERLAPS = "measures", "work/signatures", "work/overlaps"
MEASURES_SCHEMA = schema.arrow_schema(schema.MEASURES)


def _measures_made_of(job: Job, source: Source, documents: Row) -> str:
    annotate = job.recipe.annotate
    tests = job.hashes[HASH_NAME] if job.recipe.decontaminate.checks(source.kind) else ""
    model = (job.hashes[annotate.language_model], version("fasttext-predict"))
    groups = groups_of_source(job, source)
    segmenter = job.hashes[SEGMENTED] if SEGMENTED in groups else ""
    perplexity = perplexity_made_of(job.recipe, job.hashes) if annotate.perplexity else []
    judged = (model, annotate.paragraph_languages, groups, segmenter, perplexity)
    scored = scores_made_of(annotate, groups, job.hashes)
    return fingerprint(
        _MEASURES_VERSION, judged, scored, annotate.mask_personal_data, tests, documents.content
    )


def groups_of_source(job: Job, source: Source) -> list[str]:
    """The groups of counts that are made for a source: those that its rules or the recipe ask for."""
    asked = {*job.recipe.annotate.measures, *measured_groups(job.recipe.decide.thresholds, source.kind)}
    return [group for group in MEASURE_GROUPS if group in asked]


def _signatures_made_of(job: Job, source: Source, documents: Row) -> str:
    minhash, fold = job.recipe.minhash, job.recipe.deduplicate.fold
    shape = (minhash.unit, minhash.shingle, minhash.bands * minhash.rows, minhash.max_characters)
    name = job.recipe.pack.vocabulary
    vocabulary = (job.hashes[name], encoding(name)) if minhash.unit == "tokens" else ""
    hashed = (minhash.hash, minhash.seed, vocabulary)
    return fingerprint(_SIGNATURES_VERSION, shape, hashed, fold, job.recipe.seed, documents.content)


MADE_OF = {MEASURES: _measures_made_of, SIGNATURES: _signatures_made_of}


@cache
def load_kernels() -> None:
    """Loads or compiles machine code once per process, so that it is on no stage's account."""
    text = pa.array(["a"])
    text_digests(text)
    measure_text(text)
    count_scripts(text)
    find_personal_data(text)
    warm_scoring()
    shingling = Shingling("words", 1, 1)
    minhash_signatures(text, shingling, permutations=1, seed=0)
    plant(text, pa.array([bytes(16)], schema.ID), shingling, seed=0)
    (shingles,) = shingle_sets(text, shingling).split()
    similarity_ppm(shingles, shingles, measure=JACCARD)


class DerivedWriters:
    """The parts that are made of a documents part: those of `steps` that have to be made."""

    def __init__(
        self,
        job: Job,
        source: Source,
        part: int,
        scratch: Path,
        steps: Collection[str] = (MEASURES, SIGNATURES),
    ) -> None:
        self._job, self._source, self._part = job, source, part
        permutations = job.recipe.minhash.bands * job.recipe.minhash.rows
        schemas = {MEASURES: MEASURES_SCHEMA, SIGNATURES: schema.signatures_schema(permutations)}
        self._writers = {step: PartWriter(scratch, step, part, schemas[step]) for step in steps}
        self._groups = groups_of_source(job, source)
        measured = self._groups if MEASURES in steps else ()
        self._scorers = load_scorers(job.output, job.recipe.annotate, measured, job.hashes)
        self._models = models_of(job.recipe, job.hashes) if MEASURES in steps else {}
        self._planted = None
        if SIGNATURES in steps:
            self._planted = PartWriter(scratch, "work/planted", part, schema.planted_schema(permutations))
        self._index = self._overlaps = None
        if MEASURES in steps and job.recipe.decontaminate.checks(source.kind):
            self._index = open_index(job.output, job.hashes[HASH_NAME])
            self._overlaps = PartWriter(scratch, OVERLAPS, part, schema.OVERLAPS)
        self._notes = dict.fromkeys(("signed", "short", "capped", "planted"), 0)
        self._texts: set[int] = set()  # see text_keys

    def write(self, batch: pa.RecordBatch, timings: Timings) -> None:
        """Measures and signs a batch that has id, text, text_digest and LANGUAGES."""
        if writer := self._writers.get(MEASURES):
            with timings.stage("overlaps"):
                overlaps = find_overlaps(batch["text"], self._index)
            with timings.stage("perplexity"):
                scores = score_documents(batch["text"], batch["language"], self._models)
            with timings.stage("rules"):
                mask = self._job.recipe.annotate.mask_personal_data
                measures = measure_documents(
                    batch,
                    groups=self._groups,
                    scorers=self._scorers,
                    mask_personal_data=mask,
                    overlaps=overlaps,
                    scores=scores,
                )
            with timings.stage("write"):
                if self._overlaps:
                    self._overlaps.write(_placed(overlaps.found, writer.rows))
                writer.write(measures)
        if writer := self._writers.get(SIGNATURES):
            with timings.stage("sign"):
                signed = sign(self._job, batch["text"], batch["text_digest"])
            with timings.stage("plant"):
                planted = _plant(self._job, batch, writer.rows)
            self._count(signed, planted)
            with timings.stage("write"):
                writer.write(signed)
                if self._planted:
                    self._planted.write(planted)

    def _count(self, signed: pa.RecordBatch, planted: pa.RecordBatch) -> None:
        present = signed["signed"]
        self._notes["signed"] += present.true_count
        self._notes["short"] += signed["short"].true_count
        self._notes["capped"] += signed["capped"].true_count
        self._notes["planted"] += planted.num_rows
        self._texts.update(text_keys(signed).tolist())

    def commit(self, documents: Row, timings: Timings) -> None:
        """Commits what was written."""
        for step, writer in self._writers.items():
            count, stage = Count(), step.removeprefix("work/")
            count.add(stage, IN, documents.file("documents").rows)
            count.add(stage, OUT, writer.rows)
            made_of = MADE_OF[step](self._job, self._source, documents)
            notes = {**self._notes, "texts": len(self._texts)} if step == SIGNATURES else {}
            if step == MEASURES and self._overlaps:
                notes = {"overlaps": self._overlaps.rows}
            with timings.stage("write"):
                files = [writer.finish()]
                if step == SIGNATURES and self._planted:
                    files.append(self._planted.finish())
                if step == MEASURES and self._overlaps:
                    files.append(self._overlaps.finish())
            commit(self._job, step, self._part, made_of=made_of, files=files, count=count, notes=notes)


def _placed(overlaps: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
    """work/overlaps of a batch that begins at `first_row` of its part."""
    rows = overlaps["row"].to_numpy() + np.uint32(first_row)
    return pa.record_batch([pa.array(rows), overlaps["key"]], schema=schema.OVERLAPS)


def sign(job: Job, text: pa.Array, known: pa.Array | None = None) -> pa.RecordBatch:
    """work/signatures of texts; `known`: their digests under fold-v1, if the caller has them."""
    minhash = job.recipe.minhash
    signatures = datasketch_signatures if minhash.hash == "datasketch" else minhash_signatures
    permutations = minhash.bands * minhash.rows
    signed = signatures(units_of(job, text), shingling_of(job), permutations=permutations, seed=minhash.seed)
    fold = job.recipe.deduplicate.fold
    digests = known if known is not None and fold == "fold-v1" else text_digests(text, fold=fold)
    values = pa.FixedSizeListArray.from_arrays(signed.signatures.values, permutations)  # without nulls
    columns = [values, signed.signatures.is_valid(), signed.short, signed.capped, digests]
    return pa.RecordBatch.from_arrays(columns, schema=schema.signatures_schema(permutations))


def text_keys(signed: pa.RecordBatch) -> np.ndarray:
    """uint64 of every signed document of a batch of work/signatures: those of one key have equal folded texts
    and equal bands, so that one of them can stand for all.
    """
    present = signed.filter(signed["signed"])
    signatures = present[schema.SIGNATURE_FIELD]
    whole = band_keys(signatures, bands=1, rows=signatures.type.list_size)[:, 0]
    return id_words(present["fold_digest"])[:, 0] ^ whole


def _plant(job: Job, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
    """work/planted of a batch that begins at `first_row` of its part."""
    shingling, seed = shingling_of(job), job.recipe.seed
    permutations = job.recipe.minhash.bands * job.recipe.minhash.rows
    rows = choose_planted(batch["id"], first_row, seed=seed)
    chosen = batch.select(["id", "text"]).take(pa.array(rows))
    copies, levels = plant(chosen["text"], chosen["id"], shingling, seed=seed)
    signed = sign(job, copies)
    originals = shingle_sets(units_of(job, chosen["text"]), shingling)
    edited = shingle_sets(units_of(job, copies), shingling)
    jaccard = [
        similarity_ppm(one, other, measure=JACCARD)
        for one, other in zip(originals.split(), edited.split(), strict=True)
    ]
    shingles = pa.ListArray.from_arrays(pa.array(edited.offsets.astype(np.int32)), pa.array(edited.hashes))
    planted = pa.RecordBatch.from_arrays(
        [
            pa.array((rows + first_row).astype(np.uint32)),
            pa.array(levels),
            pa.array(jaccard, pa.uint32()),
            signed["signature"],
            signed["fold_digest"],
            shingles,
        ],
        schema=schema.planted_schema(permutations),
    )
    alike = np.diff(originals.offsets) > 0  # a document below a shingle has nothing that a copy could share
    return planted.filter(pa.array(alike & signed["signed"].to_numpy(zero_copy_only=False)))


def shingling_of(job: Job) -> Shingling:
    """How the recipe cuts texts into shingles."""
    minhash = job.recipe.minhash
    return Shingling(minhash.unit, minhash.shingle, minhash.max_characters)


def units_of(job: Job, text: pa.Array) -> pa.Array:
    """What shingles are made of: the text itself, or its token ids."""
    if job.recipe.minhash.unit != "tokens":
        return text
    name = job.recipe.pack.vocabulary
    return load_encoder(name, job.hashes[name]).encode_batch(text)
