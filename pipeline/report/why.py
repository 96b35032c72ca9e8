"""`sluice why`: the way of one document, or of one training row, told to a person or a program.

A document is named by its id or its URL (which may have several documents); a row by its shard and number.
Exit codes: 0 found, 1 not found.
"""

import string
from typing import Any

import orjson
import pyarrow as pa
from rich.console import Console
from rich.text import Text

from pipeline.annotate.digests import url_digests
from pipeline.config import UsageError
from pipeline.phase import Job
from pipeline.report.display import shown
from pipeline.report.explain import brief_document, explain_document, find_quarantined
from pipeline.report.explain_view import document_panel, quarantine_panel, row_table
from pipeline.report.lineage import parse_row_name, read_pieces
from pipeline.report.run_folder import find_locators, open_run

FOUND, NOT_FOUND = 0, 1

NOT_THERE = (
    "It is not in the index, and quarantine/ does not know its URL. Either no source of this run held it, or "
    "it was counted without being kept: a record of another kind than response or conversion, an HTTP status "
    "other than 200, no HTML, an empty text, or a gate of the recipe, which keeps a sample of what it stops. "
    "The funnel in report.html has those counts."
)
NO_SUCH_ROW = "The run has no such shard, or the shard has no such row."


def print_why(output: str, *, doc: str | None, url: str | None, row: str | None, as_json: bool) -> int:
    """Prints what the run in `output` knows of a document (id or URL) or of a row; returns the exit code.

    LookupError for an id or row name of another form, FileNotFoundError without a run.
    """
    job = open_run(output)
    found = _explain_row(job, row) if row is not None else _explain_documents(job, doc, url)
    if as_json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        console = Console(highlight=False)
        for block in _blocks(found, output):
            console.print(block)
    return FOUND if found["found"] else NOT_FOUND


def _explain_documents(job: Job, doc: str | None, url: str | None) -> dict[str, Any]:
    """{"found", "documents", "quarantined"} for an id or a URL."""
    if url is not None:
        digest = url_digests(pa.array([url]))[0].as_py()
        locators = find_locators(job, "url", digest) if digest else []
        quarantined = list(find_quarantined(job, url)) if digest and not locators else []
    else:
        locators, quarantined = find_locators(job, "id", parse_id(doc or "")), []
    documents = [explain_document(job, locator) for locator in locators]
    return {"found": bool(documents or quarantined), "documents": documents, "quarantined": quarantined}


def _explain_row(job: Job, name: str) -> dict[str, Any]:
    """{"found", "row", "pieces"} for a training or validation row."""
    split, shard, number = parse_row_name(name)
    pieces = read_pieces(job, split, shard, number)
    briefs = {locator: brief_document(job, locator) for locator in {piece.locator for piece in pieces or ()}}
    told = [
        {
            "start": piece.span.start,
            "end": piece.span.end,
            "document_start": piece.span.document_start,
            "copy": piece.copy,
            "document": briefs[piece.locator],
        }
        for piece in pieces or ()
    ]
    return {"found": pieces is not None, "row": f"{split}-{shard:05d}:{number}", "pieces": told}


def parse_id(text: str) -> bytes:
    """The 16 bytes of a document id; LookupError unless it is 32 hex digits."""
    digits = text.strip().lower()
    if len(digits) != 32 or not set(digits) <= set(string.hexdigits):
        raise UsageError(
            f"--doc {text!r}: a document id has 32 hex digits, as `sluice why --url` and exports show it"
        )
    return bytes.fromhex(digits)


def _blocks(found: dict[str, Any], output: str) -> list[Any]:
    if not found["found"]:
        return [
            Text("not found", style="bold red"),
            Text(NOT_THERE if "documents" in found else NO_SUCH_ROW),
        ]
    if "row" in found:
        return [
            row_table(found),
            shown(f"sluice why {output} --doc ID tells the way of one of them", style="dim"),
        ]
    return [document_panel(document) for document in found["documents"]] + [
        quarantine_panel(record) for record in found["quarantined"]
    ]
