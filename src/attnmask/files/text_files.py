"""Read texts from a file: one a line, or one a record of JSON Lines, CSV or Parquet.

Every record becomes a text or an error that names its line: none is skipped, filled in or cut.
"""

from __future__ import annotations

import csv
import importlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from attnmask.errors import InputFileError
from attnmask.escapes import escaped

Record = tuple[int, Any]
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


def _read_txt(file: BinaryIO, source: str, column: str | None) -> list[Record]:
    if column is not None:
        raise InputFileError(
            f"column {column!r} was asked for, but plain text has no columns", where=source, fix="omit it"
        )
    return [(number, line.removesuffix("\n").removesuffix("\r")) for number, line in _lines(file, source)]


def _read_jsonl(file: BinaryIO, source: str, column: str | None) -> list[Record]:
    records = [(number, _parsed(line, _place(source, number))) for number, line in _lines(file, source)]
    objects = [cast("dict[str, Any]", record) for _, record in records if isinstance(record, dict)]
    if column is None and not objects:
        return records
    if column is None:
        fields = [(name, isinstance(value, str)) for item in objects for name, value in item.items()]
        strings = dict.fromkeys(name for name, is_string in fields if is_string)
        column = _chosen(None, list(strings), list(dict.fromkeys(name for name, _ in fields)), source)
    return [(number, _field(record, column, _place(source, number))) for number, record in records]


def _read_csv(file: BinaryIO, source: str, column: str | None) -> list[Record]:
    rows = _csv_rows(file, source)
    if not rows:
        return []
    (_, header), *records = rows
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise InputFileError(
            f"the header {header[0]!r} has no comma", where=source, fix="separate the columns by commas"
        )
    index = header.index(_chosen(column, header, header, source))
    for number, row in records:
        if len(row) != len(header):
            raise InputFileError(
                f"the record and the header differ in fields: {len(row)} and {len(header)}",
                where=_place(source, number),
                fix='quote a text that holds a comma, and write an empty field as ""',
            )
    return [(number, row[index]) for number, row in records]


def _read_parquet(file: BinaryIO, source: str, column: str | None) -> list[Record]:
    arrow, parquet = import_pyarrow("pyarrow"), import_pyarrow("pyarrow.parquet")
    try:
        opened = parquet.ParquetFile(file)
        schema = opened.schema_arrow
        strings = [field.name for field in schema if _is_string(arrow, field.type)]
        column = _chosen(column, strings, list(schema.names), source)
        values = cast("list[str | None]", opened.read(columns=[column])[column].to_pylist())
        return list(enumerate(values, start=1))
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        raise InputFileError(f"not readable as Parquet: {error}", where=source) from error


READERS: dict[str, Callable[[BinaryIO, str, str | None], list[Record]]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _lines(file: BinaryIO, source: str) -> Iterator[tuple[int, str]]:
    # A binary file ends a line at \n only; str.splitlines would cut texts at U+2028 and the like.
    for number, line in enumerate(file, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputFileError(
                f"byte 0x{line[error.start]:02x} is not UTF-8",
                where=_place(source, number),
                fix="save the file as UTF-8",
            ) from error


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line.removesuffix("\n"))
    except (ValueError, RecursionError) as error:
        # A JSONDecodeError would say "line 1", of the text it was given.
        why = f"{error.msg}, character {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise InputFileError(f"not JSON: {why}", where=where, fix="write one JSON value a line") from error


def _field(record: Any, column: str, where: str) -> Any:
    if not isinstance(record, dict):
        raise InputFileError(f"{_shown(record)} is not an object with {column!r}", where=where)
    fields = cast("dict[str, Any]", record)
    if column not in fields:
        raise InputFileError(f"the record has no {column!r}; its fields are: {_listed(list(fields))}", where=where)
    return fields[column]


def _csv_rows(file: BinaryIO, source: str) -> list[tuple[int, list[str]]]:
    """Each row with the line on which it starts."""
    # Strict, because a quote that is never closed would else swallow the rest of the file into one text.
    reader = csv.reader((line for _, line in _lines(file, source)), strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        with _csv_fields_of_any_length():
            for row in reader:
                rows.append((start, row))
                start = reader.line_num + 1
    except csv.Error as error:
        raise InputFileError(
            f"not CSV: {error}",
            where=_place(source, start),
            fix="quote a text that holds a comma, a quote or a line end, and double the quotes in it",
        ) from error
    return rows


@contextmanager
def _csv_fields_of_any_length() -> Generator[None]:
    # The limit, 128 kB by default, is one for the whole process: put back what others may rely on.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


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


def _checked(records: list[Record], source: str, may_be_empty: bool) -> Texts:
    if not records:
        raise InputFileError("no texts", where=source)
    for number, text in records:
        if not isinstance(text, str):
            raise InputFileError(f"the text is {_shown(text)}, not a string", where=_place(source, number))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            what = "the text holds half of a surrogate pair, which is no character"
            raise InputFileError(what, where=_place(source, number)) from error
    empty = [number for number, text in records if not text.strip()]
    if empty and not may_be_empty:
        raise InputFileError(
            f"{len(empty)} of {len(records)} texts are empty or only whitespace",
            where=_places(source, empty),
            fix="remove them, or give --on-empty zero for rows of zeros",
        )
    return Texts([text for _, text in records], [number for number, _ in records], source)


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
