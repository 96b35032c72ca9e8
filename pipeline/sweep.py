"""Sweeps a finished run's folder of files that no commit row names, and of used-up exchange files.

Only folders of the pipeline are looked at; what a user puts beside them stays.
"""

from pipeline.annotate.decontaminate import HASH_NAME, index_name
from pipeline.annotate.score_models import score_files
from pipeline.phase import Job, row_name
from pipeline.report.audit import collect_rows

_FOLDERS = ("documents", "measures", "clusters", "decisions", "tokens", "quarantine", "index", "work")
_EXCHANGE = "work/exchange/"
_TIMINGS = "work/timings/"


def sweep(job: Job) -> list[str]:
    """Deletes what no row names and returns the names, sorted."""
    storage = job.storage()
    named: set[str] = set()
    for step, rows in collect_rows(job).items():
        for row in rows:
            named.add(row_name(step, row.number))
            named.update(file.name for file in row.files if not file.name.startswith(_EXCHANGE))
    if digest := job.hashes.get(HASH_NAME):
        named.add(index_name(digest))
    named |= score_files(job.hashes)
    found = [name for name in storage.names() if name.split("/")[0] in _FOLDERS]
    gone = [name for name in found if name not in named and not name.startswith(_TIMINGS)]
    for name in gone:
        storage.delete(name)
    return gone
