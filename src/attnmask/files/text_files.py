"""Read texts from a file: one a line, or one a record of JSON Lines, CSV or Parquet.

Every record becomes a text or an error that names its line: none is skipped, filled in or cut.
"""

from __future__ import annotations

import csv
import importlib
import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from attnmask.errors import InputFileError
from attnmask.escapes import escaped

Records = Generator[tuple[int, Any]]  # lines and values, which may be no texts
SHOWN = 5


@dataclass(frozen=True)
class Texts:
    """Texts and where each stood.

    Attributes:
        texts: the texts, none of them empty.
        lines: for each text the line on which it starts (in Parquet its row), counted from 1.
        source: the file as it was named, or "standard input".
    """

    texts: list[str]
    lines: list[int]
    source: str

    def where(self, index: int) -> str:
        """The place of a text, as the errors name it.

        >>> Texts(["to be"], [4], "hamlet.txt").where(0)
        'hamlet.txt, line 4'
        """
        return _place(self.source, self.lines[index])


def read_texts(path: str | Path, column: str | None = None, *, empty: bool = False) -> Texts:
    """Read the texts of a .txt, .jsonl, .csv or .parquet file, in UTF-8, in their order.

    Args:
        path: the file, or "-" for standard input, which is read like a .txt file: a text a line.
        column: the field or column of the texts. Not needed where just one holds strings (in CSV: where there
            is just one), nor where each line of a .jsonl file is a string.
        empty: whether texts may be empty or only whitespace.

    Returns:
        The texts, and the line or row of each.

    Raises:
        InputFileError: the file cannot be read, the column is not clear, or a text is missing, empty, only
            whitespace or no string. It names the line.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "plays.csv")
    >>> _ = file.write_text("year,text\\n1603,to be\\n1606,or not to be\\n")
    >>> read_texts(file, column="text").texts
    ['to be', 'or not to be']
    """
    if str(path) == "-":
        return _read_standard_input(column, empty)
    source, suffix = escaped(str(path)), Path(path).suffix.lower()
    if suffix not in READERS:
        raise InputFileError(
            f"unknown kind of file {suffix!r}",
            where=source,
            fix=f"name it {', '.join(READERS)}, or give - to read a text a line from standard input",
        )
    try:
        with open(path, "rb") as file:
            return _checked(READERS[suffix](file, source, column), source, empty)
    except (OSError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InputFileError(f"cannot be read: {why}", where=source) from error


def _read_standard_input(column: str | None, empty: bool) -> Texts:
    source = "standard input"
    if sys.stdin is None:
        raise InputFileError("cannot be read: it is closed", where=source)
    return _checked(_read_txt(sys.stdin.buffer, source, column), source, empty)


def import_pyarrow(name: str) -> Any:
    """Import a module of pyarrow, which only Parquet needs; Any, since pyarrow has no types."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputFileError("Parquet files need pyarrow", fix="pip install 'attnmask[cli]'") from error


def _read_txt(file: BinaryIO, source: str, column: str | None) -> Records:
    if column is not None:
        what = f"column {column!r} was asked for, but plain text has no columns"
        raise InputFileError(what, where=source, fix="omit it")
    for number, line in enumerate(_lines(file, source), start=1):
        yield number, line.removesuffix("\n").removesuffix("\r")


def _read_jsonl(file: BinaryIO, source: str, column: str | None) -> Records:
    records = [_parsed(line, source, number) for number, line in enumerate(_lines(file, source), start=1)]
    objects = [cast("dict[str, Any]", record) for record in records if isinstance(record, dict)]
    if column is None and objects:
        strings = dict.fromkeys(name for item in objects for name, value in item.items() if isinstance(value, str))
        column = _chosen(None, list(strings), list(dict.fromkeys(name for item in objects for name in item)), source)
    for number, record in enumerate(records, start=1):
        yield number, record if column is None else _field(record, column, source, number)


def _read_csv(file: BinaryIO, source: str, column: str | None) -> Records:
    # Closed, because an error that is kept would else keep the limit of csv changed.
    with closing(_csv_rows(file, source)) as rows:
        _, header = next(rows, (1, None))
        index = 0 if header is None else _csv_column(header, column, source)
        for number, row in rows:
            yield number, row[index]


def _read_parquet(file: BinaryIO, source: str, column: str | None) -> Records:
    arrow, parquet = import_pyarrow("pyarrow"), import_pyarrow("pyarrow.parquet")
    try:
        opened = parquet.ParquetFile(file)
        schema = opened.schema_arrow
        strings = [field.name for field in schema if _is_string(arrow, field.type)]
        column = _chosen(column, strings, list(schema.names), source)
        yield from enumerate(opened.read(columns=[column])[column].to_pylist(), start=1)
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        raise InputFileError(f"not readable as Parquet: {error}", where=source) from error


READERS: dict[str, Callable[[BinaryIO, str, str | None], Records]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _lines(file: BinaryIO, source: str) -> StringIO:
    try:
        # Only \n ends a line: str.splitlines would cut texts at U+2028 and the like.
        return StringIO(file.read().decode("utf-8-sig"), newline="\n")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"byte 0x{error.object[error.start]:02x} is not UTF-8",
            where=_place(source, error.object.count(b"\n", 0, error.start) + 1),
            fix="save the file as UTF-8",
        ) from error


def _parsed(line: str, source: str, number: int) -> Any:
    try:
        return json.loads(line.removesuffix("\n"))
    except (ValueError, RecursionError) as error:
        # A JSONDecodeError would say "line 1", of the text it was given.
        why = f"{error.msg}, character {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        where = _place(source, number)
        raise InputFileError(f"not JSON: {why}", where=where, fix="write one JSON value a line") from error


def _field(record: Any, column: str, source: str, number: int) -> Any:
    if not isinstance(record, dict):
        raise InputFileError(f"{_shown(record)} is not an object with {column!r}", where=_place(source, number))
    fields = cast("dict[str, Any]", record)
    if column not in fields:
        what = f"the record has no {column!r}; its fields are: {_listed(list(fields))}"
        raise InputFileError(what, where=_place(source, number))
    return fields[column]


def _csv_rows(file: BinaryIO, source: str) -> Generator[tuple[int, list[str]]]:
    """Each row with the line on which it starts; all have as many fields as the first."""
    # Strict, because a quote that is never closed would else swallow the rest of the file into one text.
    reader, start, width = csv.reader(_lines(file, source), strict=True), 1, None
    limit = csv.field_size_limit(sys.maxsize)  # 128 kB by default, for the whole process
    try:
        for row in reader:
            width = len(row) if width is None else width
            if len(row) != width:
                what = f"the record and the header differ in fields: {len(row)} and {width}"
                fix = 'quote a text that holds a comma, and write an empty field as ""'
                raise InputFileError(what, where=_place(source, start), fix=fix)
            yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        fix = "quote a text that holds a comma, a quote or a line end, and double the quotes in it"
        raise InputFileError(f"not CSV: {error}", where=_place(source, start), fix=fix) from error
    finally:
        csv.field_size_limit(limit)


def _csv_column(header: list[str], column: str | None, source: str) -> int:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        what = f"the header {header[0]!r} has no comma"
        raise InputFileError(what, where=source, fix="separate the columns by commas")
    return header.index(_chosen(column, header, header, source))


def _is_string(arrow: Any, kind: Any) -> bool:
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    return arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_string_view(kind)


def _chosen(column: str | None, strings: Sequence[str], columns: Sequence[str], source: str) -> str:
    """The column asked for, or the only one with strings."""
    if column is None and len(strings) == 1:
        return strings[0]
    if column is None and strings:
        what = f"several columns hold strings: {_listed(strings)}"
        raise InputFileError(what, where=source, fix="name the column of the texts (--column)")
    if column is None:
        raise InputFileError(f"no column holds strings; the columns are: {_listed(columns)}", where=source)
    if column not in columns:
        what = f"no column is named {column!r}; the columns are: {_listed(columns)}"
        raise InputFileError(what, where=source)
    if columns.count(column) > 1:
        raise InputFileError(f"{columns.count(column)} columns are named {column!r}", where=source)
    if column not in strings:
        raise InputFileError(f"the column {column!r} holds no strings", where=source)
    return column


def _checked(records: Records, source: str, may_be_empty: bool) -> Texts:
    texts, lines = list[str](), list[int]()
    for number, value in records:
        if fault := _fault(value):
            raise InputFileError(fault, where=_place(source, number))
        texts.append(value)
        lines.append(number)
    if not texts:
        raise InputFileError("no texts", where=source)
    empty = [number for number, text in zip(lines, texts, strict=True) if not text.strip()]
    if empty and not may_be_empty:
        what = f"{len(empty)} of {len(texts)} texts are empty or only whitespace"
        fix = "remove them, or give --on-empty zero for rows of zeros"
        raise InputFileError(what, where=_places(source, empty), fix=fix)
    return Texts(texts, lines, source)


def _fault(value: object) -> str | None:
    if not isinstance(value, str):
        return f"the text is {_shown(value)}, not a string"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair, which is no character"
    return None


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _place(source: str, number: int) -> str:
    return f"{source}, {_unit(source)} {number}"


def _places(source: str, numbers: list[int]) -> str:
    if len(numbers) == 1:
        return _place(source, numbers[0])
    listed = ", ".join(str(number) for number in numbers[:SHOWN])
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{source}, {_unit(source)}s {listed}{more}"


def _unit(source: str) -> str:
    return "row" if source.lower().endswith(".parquet") else "line"
