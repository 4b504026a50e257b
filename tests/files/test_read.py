"""Each kind of file gives its texts, in order and with their lines, or an error that names the line."""

import csv
import io
import json
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attnmask.errors import InputFileError
from attnmask.files import Texts, read_texts


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def texts_of(name: str, content: bytes, column: str | None = None) -> Texts:
    Path(name).write_bytes(content)
    return read_texts(name, column)


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def jsonl(*records: object) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


GOOD = {
    "one a line": ("a.txt", b"to be\nor not\n", None, ["to be", "or not"], [1, 2]),
    "no line end at the end": ("a.txt", b"to be\nor not", None, ["to be", "or not"], [1, 2]),
    "byte order mark, CRLF": ("a.txt", b"\xef\xbb\xbfto be\r\nor not\r\n", None, ["to be", "or not"], [1, 2]),
    "spaces are kept": ("a.txt", b"  to be \n", None, ["  to be "], [1]),
    "suffix in capitals": ("A.TXT", b"to be", None, ["to be"], [1]),
    "only \\n ends a line": (
        "a.txt",
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh\ni".encode(),
        None,
        ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh", "i"],
        [1, 2],
    ),
    "JSON strings": ("a.jsonl", b'"to be"\r\n"or\\nnot"', None, ["to be", "or\nnot"], [1, 2]),
    "JSON, named field": ("a.jsonl", jsonl({"a": "x", "b": "y"}, {"b": "z"}), "b", ["y", "z"], [1, 2]),
    "JSON, only text field": ("a.jsonl", jsonl({"id": 1, "b": "y"}, {"b": "z"}), None, ["y", "z"], [1, 2]),
    "CSV, only column": ("a.csv", b"text\nto be\nor not\n", None, ["to be", "or not"], [2, 3]),
    "CSV, named column": (
        "a.csv",
        b"\xef\xbb\xbfid,text\r\n1,to be\r\n2,or not",
        "text",
        ["to be", "or not"],
        [2, 3],
    ),
    "CSV, quoted lines": (
        "a.csv",
        b'text\n"to\nbe, or"\n"say ""not"""\n',
        None,
        ["to\nbe, or", 'say "not"'],
        [2, 4],
    ),
    "CSV, U+2028": ("a.csv", "text\na\u2028b\x85c\nd".encode(), None, ["a\u2028b\x85c", "d"], [2, 3]),
    "CSV, values stay as written": (
        "a.csv",
        b"id,text\n1,007\n2,NA\n3,null\n4, 1.0 \n5,true\n6,2020-01-01\n7,nan\n8,1e3\n",
        "text",
        ["007", "NA", "null", " 1.0 ", "true", "2020-01-01", "nan", "1e3"],
        [2, 3, 4, 5, 6, 7, 8, 9],
    ),
    "CSV, \\r in quotes": ("a.csv", b'text\n"a\rb"\n"c\r\nd"\ne\n', None, ["a\rb", "c\r\nd", "e"], [2, 3, 5]),
    "CSV, quotes within a text": ("a.csv", b'text\nsay "not"\n', None, ['say "not"'], [2]),
    "CSV, lines in another column": ("a.csv", b'text,"a\nb"\nx,"1\n2\n3"\ny,4\n', "text", ["x", "y"], [3, 6]),
    "JSON, values stay as written": (
        "a.jsonl",
        jsonl({"t": "007"}, {"t": "null"}, {"t": " 1.0 "}, {"t": "2020-01-01"}, {"t": "2020-01-01T00:00:00Z"}),
        None,
        ["007", "null", " 1.0 ", "2020-01-01", "2020-01-01T00:00:00Z"],
        [1, 2, 3, 4, 5],
    ),
    "JSON, other fields of any kind": (
        "a.jsonl",
        jsonl({"t": "a", "x": 1}, {"t": "b", "x": [10**30, {"y": None}]}, {"t": "c", "x": "d"}),
        "t",
        ["a", "b", "c"],
        [1, 2, 3],
    ),
    "JSON, text of 3 MB": ("a.jsonl", jsonl({"t": "x" * 3_000_000}), None, ["x" * 3_000_000], [1]),
    "CSV, long field": ("a.csv", b"text\n" + b"x" * 200_000, None, ["x" * 200_000], [2]),
    "Parquet, only strings": (
        "a.parquet",
        parquet(id=[7, 8], text=["to be", "or not"]),
        None,
        ["to be", "or not"],
        [1, 2],
    ),
    "Parquet, named": ("a.parquet", parquet(a=["x", None], b=["y", "z"]), "b", ["y", "z"], [1, 2]),
    "Parquet, categories": (
        "a.parquet",
        parquet(text=pa.array(["x", "y", "x"]).dictionary_encode()),
        None,
        ["x", "y", "x"],
        [1, 2, 3],
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_texts_and_their_lines(case):
    name, content, column, texts, lines = GOOD[case]
    assert texts_of(name, content, column) == Texts(texts, lines, name)


BAD = {
    "unknown kind": ("a.md", b"to be", None),
    "no extension": ("a", b"to be", None),
    "column of plain text": ("a.txt", b"to be", "text"),
    "not UTF-8": ("a.txt", b"to be\nor n\xf6t\n", None),
    "UTF-16": ("a.txt", "to be".encode("utf-16"), None),
    "no text": ("a.txt", b"", None),
    "byte order mark alone": ("a.txt", b"\xef\xbb\xbf", None),
    "one empty": ("a.txt", b"to be\n\nor not", None),
    "many empty": ("a.txt", b"to be\n" + b" \t\xe2\x80\x83\n" * 8, None),
    "JSON cut off": ("a.jsonl", b'{"text": "to be"}\n{"text": "or', None),
    "JSON with an empty line": ("a.jsonl", b'"to be"\n\n', None),
    "JSON without the field": ("a.jsonl", jsonl({"text": "a", "id": 1}, {"txt": "b", "id": 2}), "text"),
    "JSON record empty": ("a.jsonl", jsonl({"text": "a"}, {}), None),
    "JSON with two text fields": ("a.jsonl", jsonl({"title": "a", "id": 1}, {"body": "b"}), None),
    "JSON without text fields": ("a.jsonl", jsonl({"id": 1}, {"id": 2}), None),
    "JSON null": ("a.jsonl", jsonl({"text": "a"}, {"text": None}), "text"),
    "JSON numbers": ("a.jsonl", jsonl("to be", list(range(100))), None),
    "JSON string among objects": ("a.jsonl", jsonl({"text": "a"}, "b"), None),
    "JSON half a character": ("a.jsonl", b'"ab\\ud83d"', None),
    "JSON, object as text": ("a.jsonl", jsonl({"text": "a"}, {"text": {"b": 1}}), "text"),
    "JSON, two values on a line": ("a.jsonl", b'{"text": "a"} {"text": "b"}\n', None),
    "JSON, not UTF-8": ("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n{"text": "b", "id": "\xf6"}\n', "text"),
    "CSV with two columns": ("a.csv", b"id,text\n1,to be\n", None),
    "CSV without the column": ("a.csv", b"id,text\n1,to be\n", "txt"),
    "CSV with the column twice": ("a.csv", b"text,text\na,b\n", "text"),
    "CSV, comma not quoted": ("a.csv", b'text\n"to\nbe"\nor, not\n', None),
    "CSV, text after a quote": ("a.csv", b'text\nto be\n"or" not\n', None),
    "CSV, lone \\r": ("a.csv", b"text\nto be\nor\rnot\n", None),
    "CSV, blank line": ("a.csv", b"text\nto be\n\nor not\n", None),
    "CSV, not UTF-8": ("a.csv", b'id,text\n1,"to\nbe"\n\xf6,or not\n', "text"),
    "CSV, quote not closed": ("a.csv", b'text\nto be\n"or\nnot\nto be\n', None),
    "CSV, semicolons": ("a.csv", b"id;text\n1;to be\n", None),
    "CSV, header alone": ("a.csv", b"text\n", None),
    "CSV, empty": ("a.csv", b"", "text"),
    "CSV, empty text": ("a.csv", b'id,text\n1,"a\nb"\n2,\n', "text"),
    "CSV, empty header": ("a.csv", b"\nto be\n", None),
    "Parquet, none": ("a.parquet", b"PAR1 is only the first word", None),
    "Parquet, null": ("a.parquet", parquet(text=["to be", None]), None),
    "Parquet, numbers": ("a.parquet", parquet(id=[1], text=["a"]), "id"),
    "Parquet, two columns": ("a.parquet", parquet(title=["a"], body=["b"]), None),
    "Parquet, no row": ("a.parquet", parquet(text=pa.array([], pa.string())), None),
    "Parquet, empty texts": ("a.parquet", parquet(text=["", "a", " "]), None),
}
GOLDEN = Path(__file__).with_name("read_errors.txt").read_text(encoding="utf-8").strip().split("\n\n")


@pytest.mark.parametrize("case", BAD)
def test_error_texts(case):
    with pytest.raises(InputFileError) as raised:
        texts_of(*BAD[case])
    assert f"[{case}]\n{raised.value}" in GOLDEN


def test_every_golden_error_has_a_case():
    golden = [block.partition("]")[0].strip("[\n") for block in GOLDEN]
    assert golden == list(BAD)


def test_missing_file():
    with pytest.raises(InputFileError, match=r"^cannot be read: No such file or directory\n  where: gone\.txt$"):
        read_texts("gone.txt")


def test_folder_in_place_of_a_file():
    Path("folder.csv").mkdir()
    with pytest.raises(InputFileError, match=r"^cannot be read: Is a directory\n  where: folder\.csv$"):
        read_texts("folder.csv")


def test_parquet_cut_off():
    content = parquet(text=["to be"] * 1000)
    with pytest.raises(InputFileError, match=r"^not readable as Parquet: "):
        texts_of("a.parquet", content[: len(content) // 2])


def test_parquet_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputFileError) as raised:
        texts_of("a.parquet", b"")
    assert str(raised.value) == "Parquet files need pyarrow\n  to do: pip install 'attnmask[cli]'"


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 100_000])
def test_json_beyond_what_python_reads(content):
    with pytest.raises(InputFileError, match=r"^not JSON: .+\n  where: a\.jsonl, line 1\n"):
        texts_of("a.jsonl", content)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"to be\nor not\n"), encoding="ascii"))
    assert read_texts("-") == Texts(["to be", "or not"], [1, 2], "standard input")


def test_error_in_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"to be\n\xff\n")))
    with pytest.raises(InputFileError, match=r"^byte 0xff is not UTF-8\n  where: standard input, line 2\n"):
        read_texts("-")


def test_csv_limit_of_the_process_is_put_back():
    before = csv.field_size_limit()
    texts_of("a.csv", b"text\nto be\n")
    for content in (b'text\n"to be', b"text\nto, be\n", b"a;b\nto;be\n"):
        with pytest.raises(InputFileError) as kept:
            texts_of("a.csv", content)
        assert csv.field_size_limit() == before, kept.value


def test_where_names_the_line_or_row():
    assert texts_of("a.csv", b'text\n"a\nb"\nc\n').where(1) == "a.csv, line 4"
    assert texts_of("a.parquet", parquet(text=["a", "b"])).where(1) == "a.parquet, row 2"


any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1).filter(str.strip)


def write_txt(path: Path, texts: list[str]) -> None:
    # What plain text cannot say: a text that ends in \r, or a first one that opens with a byte order mark.
    assume(not any(text.endswith("\r") for text in texts) and not texts[0].startswith("\ufeff"))
    path.write_bytes("\n".join(texts).encode())


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_bytes(jsonl(*({"id": i, "text": text} for i, text in enumerate(texts))))


def write_csv(path: Path, texts: list[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])


def write_parquet(path: Path, texts: list[str]) -> None:
    path.write_bytes(parquet(id=list(range(len(texts))), text=texts))


@pytest.mark.parametrize("write", [write_txt, write_jsonl, write_csv, write_parquet])
@given(texts=st.lists(any_text, min_size=1, max_size=20))
def test_texts_come_back_in_order(write, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{write.__name__.removeprefix('write_')}")
        write(path, texts)
        read = read_texts(path)
    assert read.texts == texts
    assert read.lines == sorted(set(read.lines))
