import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.annotate.charset import decode_page
from pipeline.annotate.extract.engines import ENGINES, PageRefused, main_text_or_trafilatura

ARTICLE = "".join(
    f"<p>Paragraph {number} tells in one long sentence how the water runs through the sluice, and why "
    f"the gold stays behind while the gravel goes.</p>"
    for number in range(8)
)
PAGE = f"""<!doctype html><html><head><title>Gold &amp; gravel</title><style>p {{color: red}}</style></head>
<body><nav><a href="/">Home</a> <a href="/shop">Shop now</a></nav>
<main><article><h1>Gold and gravel</h1>{ARTICLE}
<pre>def wash(gravel):
    return gravel - gold</pre></article></main><script>var secret = 1</script>
<footer>All rights reserved</footer></body></html>"""
ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("engine", ENGINES)
def test_main_text_without_its_surroundings(engine: str) -> None:
    text, title = ENGINES[engine](PAGE, "https://example.org/gold")
    assert title == "Gold & gravel"
    assert "Paragraph 0 tells" in text and "Paragraph 7 tells" in text
    assert "    return gravel - gold" in text
    for noise in ("secret", "Shop now", "All rights reserved", "color: red", "<p>"):
        assert noise not in text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "page", ["", " ", "<p>", "<html></html>", "plain", "<title></title>", "\ufffd<<<>&#0;&#xD800;"]
)
def test_pages_with_hardly_anything(engine: str, page: str) -> None:
    text, title = ENGINES[engine](page, "")
    assert isinstance(text, str) and title == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_page_order_does_not_matter(engine: str) -> None:
    archive = ROOT / "../shared/data/warc/pool-zh.warc.gz"
    if not archive.exists():
        pytest.skip("pool-zh.warc.gz is not beside this checkout")
    from warcio.archiveiterator import ArchiveIterator

    with archive.open("rb") as file:
        records = (record for record in ArchiveIterator(file) if record.rec_type == "response")
        bodies = [record.content_stream().read() for record in itertools.islice(records, 0, 300, 10)]
    pages = [decoded[0] for body in bodies if (decoded := decode_page(body, header_charset=""))]
    assert len(pages) == 30
    forward = [ENGINES[engine](page, "") for page in pages]
    backward = [ENGINES[engine](page, "") for page in reversed(pages)]
    assert forward == backward[::-1]
    assert sum(bool(text) for text, _ in forward) > 20


def test_an_engine_that_is_not_chosen_is_not_imported() -> None:
    code = "import sys; import pipeline.annotate.extract.engines; sys.exit('trafilatura' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<div>" * 600 + PAGE, "too_deep"),
        (PAGE.replace("<main>", f"<main {'a ' * 300}>"), "too_many_attributes"),
    ],
)
def test_pages_of_which_no_tree_should_be_built(page: str, reason: str) -> None:
    for engine in ("resiliparse", "trafilatura"):
        with pytest.raises(PageRefused, match=f"^{reason}$"):
            ENGINES[engine](page, "")
    own = ENGINES["main_text"](page, "")
    assert main_text_or_trafilatura(0.0)(page, "") == own  # no fallback for these
    assert "Paragraph 7 tells" in own[0]
