"""What a URL says: its canonical form, the domain that somebody registered, and counts that rules compare.

The registered domain is the public suffix and one label more (bbc.co.uk, someone.github.io: private suffixes
count), by the list that the package `tld` carries; its rules are read as publicsuffix.org describes. A host
that is a suffix itself, an address, and a host of one label stand for themselves. Canonical URLs and hosts
are those of digests.py: no scheme, no www., internationalised names in ASCII. Costs 30 us per URL.
"""

import ipaddress
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from pipeline.annotate.digests import canonical_url, host_and_rest
from pipeline.counts import URL_COUNTS

SUFFIXES = "public_suffixes"  # in job.hashes
_LIST = "res/effective_tld_names.dat.txt"
_DIGITS, _QUERY_MARK, _FIELD_MARK = re.compile("[0-9]"), "?", re.compile("[&;]")


def suffix_list() -> Path:
    """The file with the public suffixes; FileNotFoundError without the package tld."""
    spec = find_spec("tld")
    path = Path(spec.origin).parent / _LIST if spec and spec.origin else None
    if path is None or not path.exists():
        raise FileNotFoundError("the list of public suffixes is not there: install the package tld")
    return path


@cache
def load_suffixes() -> dict[str, str]:
    """Names in ASCII -> "." if they are a suffix, "*" if every label below is one, "!" if they are none."""
    rules: dict[str, str] = {}
    for line in suffix_list().read_text(encoding="utf-8").splitlines():
        rule = line.strip()
        if not rule or rule.startswith("//"):
            continue
        kind = rule[0] if rule[0] in "*!" else ""
        name = rule.removeprefix("*.").removeprefix("!")
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            continue  # a rule that no host in IDNA 2003 can match
        rules[name] = rules.get(name, "") + (kind or ".")
    return rules


def registered_domain(url: str) -> str:
    """The registered domain of a URL's host, the host itself if it is only a suffix, "" without."""
    host = host_and_rest(url)[0]
    labels = host.split(".")
    if len(labels) < 2 or _is_address(host):
        return host
    rules = load_suffixes()
    suffix = 1  # labels of it; a name that no rule has is a suffix of one label
    for start in range(len(labels) - 1, -1, -1):
        kinds = rules.get(".".join(labels[start:]), "")
        count = len(labels) - start
        if "!" in kinds:
            suffix = count - 1
            break
        if "." in kinds:
            suffix = max(suffix, count)
        if "*" in kinds and start > 0:
            suffix = max(suffix, count + 1)
    return ".".join(labels[-suffix - 1 :])


def canonical_urls(urls: pa.Array) -> pa.Array:
    """Canonical URL (string) of each, "" without one."""
    return pa.array([canonical_url(url) if url else "" for url in urls.to_pylist()], pa.string())


def registered_domains(urls: pa.Array) -> pa.Array:
    """Registered domain (string) of each, "" without one."""
    return pa.array([registered_domain(url) if url else "" for url in urls.to_pylist()], pa.string())


def measure_urls(urls: pa.Array) -> pa.RecordBatch:
    """URL_COUNTS of each, of its canonical form; zeros without a URL."""
    rows = [_count(canonical_url(url)) if url else (0,) * len(URL_COUNTS) for url in urls.to_pylist()]
    columns = zip(*rows, strict=True) if rows else [()] * len(URL_COUNTS)
    return pa.RecordBatch.from_arrays([pa.array(c, pa.uint32()) for c in columns], names=list(URL_COUNTS))


def _count(url: str) -> tuple[int, int, int, int]:
    place, mark, query = url.partition(_QUERY_MARK)
    path = place.partition("://")[2] or place
    segments = len([segment for segment in path.split("/")[1:] if segment])
    fields = len([field for field in _FIELD_MARK.split(query) if field]) if mark else 0
    return len(url), len(_DIGITS.findall(url)), segments, fields


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False
