"""The Report phase: audits the ledger, freezes MANIFEST.json and manifest.parquet, draws report.html.

A run whose ledger does not balance leaves a manifest that says so, and fails.
"""

from collections.abc import Iterable, Iterator

from pipeline.phase import Job, Step
from pipeline.report.audit import audit
from pipeline.report.manifest import build_manifest, write_manifest
from pipeline.report.page import render_page


class Unbalanced(RuntimeError):
    """The ledger does not balance: records were lost or made up somewhere."""


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    yield 0, b""  # always: it is the audit of everything before


def _finish(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    found = audit(job)
    manifest = build_manifest(job, found)
    write_manifest(job, manifest, found)
    job.storage().put_bytes("report.html", render_page(job, manifest).encode())
    if found.problems:
        raise Unbalanced(
            "the ledger does not balance:\n" + "\n".join(f"- {problem}" for problem in found.problems)
        )


REPORT = Step("report", _plan, _finish)
