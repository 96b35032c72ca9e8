"""The pages that the main-text models learn from, each with its site, its kind and what is known of its text.

They come as the archives `extraction.tar.gz`, `extraction-pages.tar.gz`, `encodings.tar.gz` and the folder
`warc/`, unpacked or not copied anywhere: pages are read from the archives one after the other.

Kinds: "readability" (Mozilla's test pages, with the text its authors expect), "markdown" (documentation
beside the Markdown it was made from), "articles" (test pages of Goose, Snacktory and ExtractNet), "chinese"
(Chinese news), "sites" (shops, logins, searches: about 950 sites), "pool" (blogs and manuals out of WARC
files) and "manual" (one manual in many charsets). All but the first two have no truth: a teacher labels them.
"""

import gzip
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.annotate.charset import decode_page

_KINDS = {
    "mozilla_readability": "readability",
    "html_md_pairs": "markdown",
    "goose3": "articles",
    "snacktory": "articles",
    "extractnet_test": "articles",
    "gne_zh_kingname": "chinese",
    "formasaurus_pages": "sites",
    "httpd_manual": "manual",
}
_POOL_PAGES_PER_SITE, _MANUAL_PAGES = 25, 40  # templates repeat: more pages of one site teach nothing
_MAX_PAGE_BYTES = 4_000_000
_CANONICAL = re.compile(
    r"<(?:link[^>]*rel=[\"']?canonical[\"']?|meta[^>]*og:url[\"'])[^>]*?(?:href|content)=[\"']?https?://([\w.-]+)",
    re.IGNORECASE,
)
_HOSTERS = (
    "github",
    "gitbook",
    "blogspot",
    "wordpress",
    "tumblr",
    "medium",
    "blogs",
    "livejournal",
    "co",
    "com",
)


@dataclass(frozen=True, slots=True)
class LabelledPage:
    """One page; `truth` is HTML for kind "readability", Markdown for "markdown", else ""."""

    kind: str
    site: str  # pages of one site are never on both sides of a fold
    name: str
    html: str
    truth: str = ""


ARCHIVES = ("extraction.tar.gz", "extraction-pages.tar.gz", "encodings.tar.gz", "warc")


def read_pages(data: Path, archives: Sequence[str] = ARCHIVES) -> Iterator[LabelledPage]:
    """Every page of the archives under `data` that can be decoded, in their order."""
    for archive in archives:
        if archive != "warc":
            yield from _read_archive(data / archive)
            continue
        for path in sorted((data / archive).glob("*.warc.gz")):
            yield from _read_pool(path)


def site_of(html: str, name: str) -> str:
    """A page's site: the name in its canonical address, else the letters its file name begins with."""
    match = _CANONICAL.search(html[:200_000])
    if match:
        labels = match[1].lower().removeprefix("www.").split(".")
        labels = labels[:-1] if len(labels) > 1 else labels
        while len(labels) > 1 and labels[-1] in _HOSTERS and len(labels[-1]) <= 3:
            labels.pop()
        return ".".join(labels[-2:]) if labels[-1] in _HOSTERS else labels[-1]
    letters = re.match(r"[a-z]+", re.sub(r"^test_", "", name.lower()))
    return letters[0] if letters else name


def _read_archive(archive: Path) -> Iterator[LabelledPage]:
    with tarfile.open(archive) as files:
        members = {member.name: member for member in files.getmembers() if member.isfile()}
        manual = 0
        for name in sorted(members):
            parts = name.split("/")
            kind = next((_KINDS[part] for part in parts if part in _KINDS), "")
            if not kind or not _is_page(name, kind) or members[name].size > _MAX_PAGE_BYTES:
                continue
            if kind == "manual":
                manual += 1
                if manual % 10:
                    continue
            page = _decode(_read(files, members, name))
            if not page:
                continue
            truth_name = {"readability": "expected.html", "markdown": f"{parts[-1][:-5]}.md"}.get(kind, "")
            truth = _decode(_read(files, members, "/".join([*parts[:-1], truth_name]))) if truth_name else ""
            yield LabelledPage(kind, _site_in_archive(kind, parts, page), name, page, truth)


def _is_page(name: str, kind: str) -> bool:
    if kind == "readability":
        return name.endswith("/source.html")
    return ".html" in name if kind == "manual" else name.endswith(".html")


def _site_in_archive(kind: str, parts: list[str], page: str) -> str:
    if kind == "markdown":
        return parts[-2]
    if kind == "chinese":
        return parts[-2] if parts[-2] != "tests" else parts[-1]
    if kind == "manual":
        return "httpd"
    if kind == "sites":
        host = re.sub(r"-\d+\.html$", "", parts[-1]).removeprefix("www.").split(".")
        return host[-2] if len(host) > 1 and len(host[-2]) > 3 else host[max(len(host) - 3, 0)]
    return site_of(page, parts[-2] if kind == "readability" else parts[-1])


def _read(files: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    content = files.extractfile(members[name]) if name in members else None
    return content.read() if content else b""


def _decode(body: bytes) -> str:
    decoded = decode_page(body, header_charset="") if body else None
    return decoded[0] if decoded else ""


def _read_pool(path: Path) -> Iterator[LabelledPage]:
    """Pages of WARC responses, evenly over each site."""
    from warcio.archiveiterator import ArchiveIterator

    responses: list[tuple[str, str, bytes]] = []
    with gzip.open(path) as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                url = record.rec_headers.get_header("WARC-Target-URI")
                responses.append((url.split("/")[2], url, record.content_stream().read()))
    seen: Counter[str] = Counter()
    sizes = Counter(host for host, _, _ in responses)
    for host, url, body in responses:
        seen[host] += 1
        step = max(sizes[host] // _POOL_PAGES_PER_SITE, 1)
        if seen[host] % step == 0 and seen[host] // step <= _POOL_PAGES_PER_SITE and (page := _decode(body)):
            yield LabelledPage("pool", host, url, page)
