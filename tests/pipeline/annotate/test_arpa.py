"""ARPA files and model files that are not whole, or not what they should be, are refused with a reason."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.annotate.arpa import compile_arpa, open_model, read_arpa, read_header
from pipeline.parts import file_sha256

ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-2.5\t<unk>\t0
-99\t<s>\t-0.25
-1\t</s>
-0.5\tgold\t-0.125
-0.75\t酒\t-20

\\2-grams:
-0.3\t<s> gold
-0.1\tgold 酒

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def test_costs_are_rounded_to_steps_and_what_is_beyond_is_counted(arpa: Path) -> None:
    vocabulary, (words, pairs) = read_arpa(arpa)
    assert vocabulary == [b"<unk>", b"<s>", b"</s>", b"gold", "酒".encode()]
    assert words.costs.tolist() == [10_000, 0, 4_000, 2_000, 3_000]
    assert words.backoffs.tolist() == [0, 1_000, 0, 500, 32_767]
    assert pairs.words.tolist() == [[1, 3], [3, 4]] and pairs.costs.tolist() == [1_200, 400]
    header = compile_arpa(arpa, arpa.with_suffix(".lm"), language="xx")
    assert (header.order, header.ngrams, header.clipped) == (2, (5, 2), 1)
    assert read_header(arpa.with_suffix(".lm")) == header


def test_the_same_arpa_gives_the_same_bytes_and_is_mapped(arpa: Path) -> None:
    one, other = arpa.with_suffix(".lm"), arpa.with_suffix(".other")
    compile_arpa(arpa, one, language="xx")
    compile_arpa(arpa, other, language="xx")
    assert one.read_bytes() == other.read_bytes()
    table = open_model(one, file_sha256(one)).table
    while isinstance(table, np.ndarray) and not isinstance(table, np.memmap):
        table = table.base
    assert isinstance(table, np.memmap) and not table.flags.writeable


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\\data\\", "data", "line 1: it does not begin with"),
        ("ngram 2=2", "ngram 2=3", "line 16: 1 fields for an n-gram of 2 words"),
        ("ngram 2=2", "ngram 2=1", "was expected"),
        ("-0.5\tgold", "often\tgold", "line 9: not understood"),
        ("-0.5\tgold", "nan\tgold", "an infinite probability"),
        ("gold 酒", "gold silver", "line 14: not understood: b'silver'"),
        ("<unk>", "<UNK>", "has no <unk>"),
        ("-0.75\t酒", "-0.75\tgold", "a word comes twice"),
        ("\\end\\", "", "was expected"),
    ],
)
def test_no_arpa_file(old: str, new: str, says: str, arpa: Path) -> None:
    arpa.write_text(ARPA.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=says.replace("\\", "\\\\")):
        read_arpa(arpa)


def test_ngrams_without_their_parts_are_refused(arpa: Path) -> None:
    longer = "\n\\3-grams:\n-0.1\t<s> gold 酒\n-0.2\tgold gold 酒\n\n\\end\\"
    text = ARPA.replace("ngram 2=2", "ngram 2=2\nngram 3=2").replace("\n\\end\\", longer)
    arpa.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="without their beginnings or ends"):
        compile_arpa(arpa, arpa.with_suffix(".lm"), language="xx")


def test_damaged_models_are_refused(arpa: Path) -> None:
    model = arpa.with_suffix(".lm")
    compile_arpa(arpa, model, language="xx")
    whole, sha256 = model.read_bytes(), file_sha256(model)
    with pytest.raises(ValueError, match=f"has sha256 {sha256}, not 00"):
        open_model(model, "00")
    for damaged in (whole[:-8], whole + b"\0", whole[:-3] + b"\1" + whole[-2:]):
        model.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            read_header(model)
    for other in (b"", whole[:100], b"{}", os.urandom(5_000), whole.replace(b"words-v1", b"words-v0")):
        model.write_bytes(other)
        with pytest.raises(ValueError, match=r"is no language model of ours|with unit 'words-v0'"):
            read_header(model)
