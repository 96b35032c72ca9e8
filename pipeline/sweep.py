"""Sweeps a finished run's folder: files that no commit row names, and exchange files, which shards have used
up.
"""

from pipeline.graph import STEPS
from pipeline.phase import Job
from pipeline.report.audit import collect_rows

_EXCHANGE = "work/exchange/"
_KEPT = ("MANIFEST.json", "manifest.parquet", "plan.json", "report.html", ".lock", "work/input-hashes.json")
_FOLDERS = (*STEPS, "quarantine", "index", "tokens", "work")


def sweep(job: Job) -> list[str]:
    """Deletes what no row names, in the folders of the pipeline only; returns the names."""
    from pipeline.phase import row_name

    storage = job.storage()
    named = set(_KEPT)
    for step, rows in collect_rows(job).items():
        for row in rows:
            named.add(row_name(step, row.number))
            named.add(f"work/timings/{step}/part-{row.number:05d}.json")
            named.update(file.name for file in row.files if not file.name.startswith(_EXCHANGE))
    gone = [
        name
        for name in storage.names()
        if name not in named and not name.startswith("work/timings/") and name.split("/")[0] in _FOLDERS
    ]
    for name in gone:
        storage.delete(name)
    return gone
