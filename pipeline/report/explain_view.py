"""A traced document, a token row or a quarantined record, drawn for a terminal of 80 columns or more.

Whatever comes from data goes through `display.shown`: no markup, no control characters.
"""

from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.report.display import shown
from pipeline.report.explain import SHOWN_MEMBERS, share

_SHOWN_EDITS = 20
_TITLE_CHARACTERS = 80
_MEASURE_COLUMNS = 2
_MATCH_CHARACTERS = 300


def row_table(found: dict[str, Any]) -> Table:
    """The pieces of a token row, two lines each: where they lie, and whose they are."""
    table = Table(
        "tokens",
        "",
        title=f"Row {found['row']}",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
    )
    for piece in found["pieces"]:
        document, length = piece["document"], piece["end"] - piece["start"]
        name = document["title"] or document["url"] or f"{document['path']} at {document['offset']}"
        of = f"tokens {_span(piece['document_start'], length)} of copy {piece['copy']} of "
        whose = Text.assemble(of, (document["id"], "cyan"), "\n", (f"{document['source']}  ", "dim"))
        table.add_row(_span(piece["start"], length), whose + shown(name, limit=_TITLE_CHARACTERS))
    return table


def document_panel(document: dict[str, Any]) -> Panel:
    """The way of one document (explain.explain_document)."""
    excerpt = f"{document['excerpt']} …" if document["excerpt"] else "not shown"
    blocks: list[Any] = [_provenance(document), _heading("Text"), shown(excerpt, style="dim")]
    blocks += [_heading("Rules of the recipe"), _rules(document["rules"])]
    blocks += [_heading("Measures"), _measures(document["measures"])]
    if document["overlaps"]:
        blocks += [_heading("Test questions in it"), _overlaps(document["overlaps"])]
    if document["cluster"]["size"] > 1:
        blocks += [_heading("Duplicates"), _members(document["cluster"])]
    if document["edits"]:
        blocks += [_heading("Edits"), _edits(document["edits"])]
    if document["decision"]["kept"]:
        blocks += [_heading("In the corpus"), _repeated(document), _copies(document)]
    verdict, colour = _verdict(document)
    return Panel(
        Group(*blocks), title=Text(verdict, style=f"bold {colour}"), title_align="left", border_style=colour
    )


def _verdict(document: dict[str, Any]) -> tuple[str, str]:
    decision = document["decision"]
    if decision["kept"]:
        times = len(document["copies"])
        where = (
            "held out for validation"
            if decision["validation"]
            else f"in training, {times} cop{'y' if times == 1 else 'ies'}"
        )
        return f"kept: {where}", "green"
    if decision["reason"] == "takedown":
        return "taken down", "red"
    if decision["reason"] == "duplicate":
        return "dropped: duplicate", "yellow"
    more = len(decision["failing"]) - 1
    return f"dropped: {decision['reason']}" + (f" and {more} more" if more else ""), "red"


def _heading(text: str) -> Padding:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def _provenance(document: dict[str, Any]) -> Table:
    source = document["source"]
    place = f"{document['path']}, byte {document['offset']:,}, {document['length']:,} bytes"
    if not document["length"]:
        place = f"{document['path']}, row {document['offset']:,}"
    elif document["index"]:
        place += f", record {document['index']:,} in it"
    facts = {
        "title": document["title"],
        "author": document["author"],
        "published": document["published"],
        "url": document["url"],
        "canonical URL": document["canonical_url"],
        "registered domain": document["registered_domain"],
        "id": document["id"],
        "source": f"{source['name']} ({source['kind']}), licence {document['licence']}",
        "file": place,
        "date": document["date"],
        "charset": document["charset"],
        "language": f"{document['language']} ({document['language_score']:.4f})",
        "declared language": document["declared_language"],
        "perplexity": _perplexity(document["perplexity"]),
        "stored in": f"part {document['part']:,}, row {document['row']:,}",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value:
            table.add_row(Text(name, style="dim"), shown(value))
    return table


def _perplexity(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    told = f"{found['value']:,.1f} by {found['model']}"
    if not found["bucket"]:
        return told
    head, middle = found["cut_offs"]
    return f"{told}: {found['bucket']} (head below {head:,.1f}, middle below {middle:,.1f})"


def _rules(rules: list[dict[str, Any]]) -> Table | Text:
    if not rules:
        return Text("none for this kind and language", style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rule", no_wrap=True)
    for heading in ("counts", "value", "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for rule in rules:
        verdict = Text("ok", style="green") if rule["passes"] else Text("fails", style="bold red")
        table.add_row(rule["rule"], *_compared(rule), verdict, style="" if rule["passes"] else "red")
    return table


def _compared(rule: dict[str, Any]) -> tuple[str, Text | str, str]:
    """The exact counts of a share, the number that they make, and the threshold."""
    value, threshold = rule["value"], rule["threshold"]
    if isinstance(value, str):
        return "", shown(value), ", ".join(threshold)
    if "perplexity" in rule:
        found = "-" if rule["perplexity"] is None else f"{rule['perplexity']:,.1f}"
        return f"{value[0]:,} / {value[1]:,}", found, f"{threshold:,}"
    if value[1] == 1:
        return "", f"{value[0]:,}", f"{threshold:,}"
    exact = share(value)
    return f"{value[0]:,} / {value[1]:,}", "-" if exact is None else f"{float(exact):.4f}", f"{threshold:,}"


def _measures(measures: dict[str, int | None]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(_MEASURE_COLUMNS):
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
    counts = {
        name: count for name, count in measures.items() if count is not None
    }  # null: nothing asks for it
    names = list(counts)
    height = -(-len(names) // _MEASURE_COLUMNS)
    for row in range(height):
        cells: list[Text] = []
        for name in names[row::height]:
            cells += [Text(name.replace("_", " "), style="dim"), Text(f"{counts[name]:,}")]
        table.add_row(*cells)
    return table


def _members(cluster: dict[str, Any]) -> Group:
    survivor, members = cluster["survivor"], cluster["members"]
    if survivor and survivor not in members:
        members = [survivor, *members]
    table = Table.grid(padding=(0, 2))
    for member in members:
        lives = member == survivor
        name = member["url"] or f"{member['path']} at {member['offset']}"
        run = f"{member['run']}  " if "run" in member else ""
        whence = shown(f"{run}{member['source']}  {member['date'][:10]}  ", style="dim")
        by = f"  survives, by {cluster['survivor_by'].replace('_', ' ')}" if lives else ""
        line = Text.assemble((member["id"], "green" if lives else ""), by, "\n")
        table.add_row(line + whence + shown(name, limit=_TITLE_CHARACTERS))
    told = f"cluster {cluster['id']}: {cluster['size']:,} documents"
    if cluster["size"] > SHOWN_MEMBERS:
        told += f", the first {SHOWN_MEMBERS} of them"
    if cluster["partners"]:
        told += f"; with {len(cluster['partners'])} of earlier runs: {', '.join(cluster['partners'])}"
    if survivor is None:
        told += "; none passes the rules, so none survives"
    return Group(Text(told), table)


def _overlaps(overlaps: list[dict[str, Any]]) -> Table:
    """By set: what matches, and of which examples."""
    table = Table("set", "n-grams", box=None, pad_edge=False, header_style="dim")
    table.add_column("what matches", overflow="fold")
    for of_set in overlaps:
        lines = [shown(f"“{span['text']}”", limit=_MATCH_CHARACTERS) for span in of_set["spans"]]
        lines += [
            shown(f"{example['file']}, line {example['line']:,}", style="dim")
            for example in of_set["examples"]
        ]
        table.add_row(shown(of_set["set"]), f"{of_set['ngrams']:,}", Text("\n").join(lines))
    return table


def _edits(edits: list[dict[str, Any]]) -> Table:
    table = Table("reason", "bytes of the text", "becomes", box=None, pad_edge=False, header_style="dim")
    for edit in edits[:_SHOWN_EDITS]:
        table.add_row(
            shown(edit["reason"]), f"{edit['start']:,} to {edit['end']:,}", shown(edit["replacement"])
        )
    if len(edits) > _SHOWN_EDITS:
        table.add_row(f"and {len(edits) - _SHOWN_EDITS:,} more")
    return table


def _repeated(document: dict[str, Any]) -> Text:
    """How often the mixture repeats what the document belongs to."""
    if document["group"] is None:
        return Text("held out: one copy", style="dim")
    told = f"{document['group']} is repeated {document['repeats']:g} times"
    return shown(
        told + (f", times {document['factor']} for its cluster" * (document["factor"] != 1)), style="dim"
    )


def _copies(document: dict[str, Any]) -> Table | Text:
    if not document["copies"]:
        times = f"{document['repeats']:g} times"
        times += f", times {document['factor']} for its cluster" if document["factor"] != 1 else ""
        return Text(f"no copy: {document['group']} is repeated {times}, and it was not drawn")
    table = Table("copy", "shard", box=None, pad_edge=False, header_style="dim")
    for heading in ("row", "tokens of the row", "of the document"):
        table.add_column(heading, justify="right")
    for copy in document["copies"]:
        for span in copy["spans"]:
            length = span["end"] - span["start"]
            table.add_row(
                str(copy["copy"]),
                copy["file"],
                f"{span['row']:,}",
                _span(span["start"], length),
                _span(span["document_start"], length),
            )
    return table


def quarantine_panel(record: dict[str, Any]) -> Panel:
    """A record that was set aside (explain.find_quarantined)."""
    table = Table.grid(padding=(0, 2))
    place = f"{record['path']}, byte {record['offset']:,}, {record['length']:,} bytes"
    facts = {"url": record["url"], "source": record["source"], "file": place, "stage": record["stage"]}
    for name, value in {
        **facts,
        "reason": record["reason"],
        "detail": record["detail"],
        "kept as": record["media"],
    }.items():
        if value:
            table.add_row(Text(name, style="dim"), shown(value))
    title = Text(f"set aside: {record['reason']}", style="bold red")
    return Panel(table, title=title, title_align="left", border_style="red")


def _span(start: int, length: int) -> str:
    return f"{start:,}-{start + length - 1:,}"
