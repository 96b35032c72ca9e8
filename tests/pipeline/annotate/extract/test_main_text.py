"""Our engine on pages whose main text is known, on damaged ones, and on very many."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.annotate.extract import engines, main_text
from pipeline.annotate.extract.blocks import Cuts, is_kept
from pipeline.annotate.extract.main_text import Extract, extract_main_text, extract_page, load_models
from pipeline.kernels.html_page import MAX_BLOCKS
from pipeline.kernels.html_scan import TooManyBlocks

ROOT = Path(__file__).resolve().parents[4]
# More for a long run: SLUICE_FUZZ_PAGES=100000 takes about 10 minutes.
FUZZ_PAGES = int(os.environ.get("SLUICE_FUZZ_PAGES", "1000"))
SENTENCES = (
    "The water runs through the sluice from early spring until the first frost, as it did long ago. "
    "Gold is heavy, so it stays behind the riffles, while sand, mud and gravel are carried on and away. "
    "Nobody in the valley remembers who built the first box, but everybody knows how to repair one."
)
MENU = "".join(f'<li><a href="/{n}">Section {n}</a></li>' for n in range(8))
PAGE = f"""<!doctype html><html lang="en"><head><title>How gold is washed</title></head><body>
<div class="header"><ul class="menu">{MENU}</ul></div>
<div id="content"><div class="post"><h1>How gold is washed</h1>
<div class="entry-content"><p>{SENTENCES}</p><p>{SENTENCES}</p>
<h2>What you need</h2><p>{SENTENCES}</p>
<ul><li>a box of planks, which should be as long as a man is tall, and riffles to put into it;</li>
<li>a shovel, a bucket and a pan in which the last of the gravel is washed away by hand.</li></ul>
<p>{SENTENCES}</p></div></div></div>
<div class="sidebar"><h3>Popular</h3><ul class="widget">{MENU}</ul></div>
<div class="footer"><p>Copyright 2020. All rights reserved.</p></div></body></html>"""


def test_an_article_without_its_surroundings() -> None:
    text = extract_main_text(PAGE)
    paragraphs = text.split("\n\n")
    assert paragraphs.count(SENTENCES) == 4
    assert "- a box of planks" in text and "\n- a shovel, a bucket" in text
    assert "Section 3" not in text and "All rights reserved" not in text and "Popular" not in text


def test_bytes_are_decoded_like_a_page() -> None:
    page = PAGE.replace("Gold is heavy", "黄金很重").replace("<head>", '<head><meta charset="gb18030">')
    assert extract_main_text(page.encode("gb18030")) == extract_main_text(page)
    assert "黄金很重, so it stays" in extract_main_text(page, "https://example.org/")
    assert extract_main_text(b"%PDF-1.4") == ""


def test_hidden_text_is_left_out_unless_the_page_is_all_hidden() -> None:
    hidden = "This paragraph is hidden from every reader of the page, who will never see a word of it at all."
    page = PAGE.replace("<h2>What you need", f'<div style="display:none">{f"<p>{hidden}</p>" * 30}</div><h2>')
    assert hidden not in extract_main_text(page) and SENTENCES in extract_main_text(page)
    assert SENTENCES in extract_main_text(PAGE.replace('<div id="content">', '<div id="content" hidden>'))


def test_what_is_kept_follows_the_page() -> None:
    lengths = np.array([100, 100, 20])
    cuts = Cuts(kept=500, likely=200, lowered=300)

    def kept(*chances: int) -> list[bool]:
        return is_kept(np.array(chances, np.uint16), lengths, cuts).tolist()

    assert kept(600, 400, 400) == [True, False, False]  # enough is sure
    assert kept(400, 400, 310) == [True, True, True]  # nothing is: what is likely
    assert kept(400, 100, 290) == [True, False, False]


def test_title_and_doubt() -> None:
    found = extract_page(PAGE)
    assert found.title == "How gold is washed" and 0 <= found.doubt < 0.2
    assert extract_page("").title == extract_page("").text == ""


def test_a_page_of_too_many_blocks_has_its_own_reason() -> None:
    page = "<p>a" * (MAX_BLOCKS + 1)
    with pytest.raises(TooManyBlocks):
        extract_main_text(page)
    with pytest.raises(engines.PageRefused, match=r"^too_many_blocks$"):
        engines.extract_with_main_text(page, "")


def test_pages_in_doubt_go_to_the_slow_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "extract_with_trafilatura", lambda page, url: ("slow", ""))
    never, always = engines.main_text_or_trafilatura(0.49), engines.main_text_or_trafilatura(0.0)
    assert never(PAGE, "") == engines.extract_with_main_text(PAGE, "")
    assert always(PAGE, "") == ("slow", "How gold is washed")
    assert never("<p>short", "") == ("slow", "")
    monkeypatch.setattr(engines, "extract_with_trafilatura", lambda page, url: ("", ""))
    assert always(PAGE, "")[0] == extract_main_text(PAGE)
    assert Extract("x" * 150, "", 0.1).is_unsure(0.05) and not Extract("x" * 150, "", 0.1).is_unsure(0.1)


def test_models_that_are_not_those_of_the_card_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "main_text.npz"
    copy.write_bytes(engines.MAIN_TEXT_MODEL.read_bytes() + b"\0")
    monkeypatch.setattr(main_text, "MAIN_TEXT_MODEL", copy)
    load_models.cache_clear()
    with pytest.raises(ValueError, match="is not the file"):
        load_models()
    monkeypatch.undo()
    load_models.cache_clear()


def test_models_of_other_features_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = json.loads(main_text.CARD.read_text())
    other = tmp_path / "main_text.json"
    other.write_text(json.dumps(card | {"features": card["features"][::-1]}))
    monkeypatch.setattr(main_text, "CARD", other)
    load_models.cache_clear()
    with pytest.raises(ValueError, match="other features"):
        load_models()
    monkeypatch.undo()
    load_models.cache_clear()


def test_the_card_says_what_the_models_learned_from() -> None:
    card = json.loads(main_text.CARD.read_text())
    assert card["pages"]["readability"] > 100 and card["sites"] > 300
    assert len(load_models().first.roots) == card["parameters"]["trees"]["first"]
    assert engines.MAIN_TEXT_MODEL.stat().st_size < 500_000


def real_pages() -> list[bytes]:
    archive = ROOT / "../shared/data/warc/pool-en.warc.gz"
    if not archive.exists():
        pytest.skip("pool-en.warc.gz is not beside this checkout")
    from warcio.archiveiterator import ArchiveIterator

    with archive.open("rb") as file:
        responses = (record for record in ArchiveIterator(file) if record.rec_type == "response")
        bodies = [record.content_stream().read() for record, _ in zip(responses, range(200), strict=False)]
    return [body for body in bodies if len(body) < 60_000][::4]


PIECES = [
    b"<",
    b">",
    b'"',
    b"'",
    b"</",
    b"<!--",
    b"<script>",
    b"<p>",
    b"</div>",
    b"<div>",
    b"<a href=x>",
    b"&#x",
    b"\0",
]
PIECES += [
    b"<table>",
    b"<td>",
    b"</table>",
    b"\xff",
    b"<pre>",
    b"<math>",
    b"<annotation encoding=tex>",
    b"</html>",
]


def mutated(pages: list[bytes], count: int) -> Iterator[bytes]:
    """Real pages with bytes changed, pieces put in, parts doubled, taken out or cut off."""
    draw = random.Random(7)
    for _ in range(count):
        page = bytearray(draw.choice(pages))
        for _ in range(draw.randrange(1, 20)):
            at = draw.randrange(len(page) + 1)
            kind = draw.randrange(5)
            if kind == 0:
                page[at:at] = draw.choice(PIECES) * draw.choice((1, 1, 1, 50))
            elif kind == 1 and at < len(page):
                page[at] = draw.randrange(256)
            elif kind == 2:
                del page[at : at + draw.randrange(300)]
            elif kind == 3:
                page[at:at] = page[at : at + draw.randrange(2000)]
            elif draw.random() < 0.1:
                del page[at:]
        yield bytes(page)


@pytest.mark.slow
def test_mutated_real_pages_and_flat_memory() -> None:
    pages = real_pages()
    process = psutil.Process()
    early = 0
    for number, page in enumerate(mutated(pages, FUZZ_PAGES)):
        found = extract_page(page.decode("utf-8", "replace"))
        assert 0 <= found.doubt <= 0.5
        if number == min(1000, FUZZ_PAGES // 2):
            early = process.memory_info().rss
    assert process.memory_info().rss - early < 100_000_000


def test_the_same_page_says_the_same_after_others() -> None:
    first = extract_page(PAGE)
    extract_page("<div>" * 1000 + "x")
    extract_page("<p>中文。" * 500)
    assert extract_page(PAGE) == first


def test_large_pages() -> None:
    """Two million bytes of text, of attributes, of tags."""
    text = "word " * 400_000
    for page in (
        f"<p>{text}",
        f"<p {'a=1 ' * 500_000}>t",
        "<b>" * 700_000,
        f"<p>x<img src='data:{'A' * 2_000_000}'>",
        "&amp;" * 400_000,
    ):
        extract_main_text(page)


def test_hidden_text_goes_unless_all_is_hidden() -> None:
    hidden = PAGE.replace("<h2>", f'<div style="display: none"><p>Hidden. {SENTENCES}</p></div><h2>')
    assert extract_main_text(hidden) == extract_main_text(PAGE)
    shown_by_script = PAGE.replace('<div id="content">', '<div id="content" style="display:none">')
    assert extract_main_text(shown_by_script).count(SENTENCES) == 4
