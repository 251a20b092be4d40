"""Points from files: line protocol, CSV and Parquet, read as a stream."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from lineprotocol import PRECISIONS, LineError, LineSplitter, Point, parse_line

_BLOCK = 1 << 20
_TIME_COLUMNS = ("time", "timestamp", "_time", "datetime", "date")


def _ignore(_: object) -> None:
    """Tell nobody."""


class DataError(ValueError):
    """A file that cannot be read as points; the message says where and what to do."""


@dataclass(slots=True)
class Source:
    """A file of points.

    Parameters
    ----------
    path : Path
        ``-`` for line protocol on standard input.
    kind : {"lp", "csv", "parquet"}
    precision : str
        Unit of timestamps that are bare numbers.
    measurement : str, optional
        Name of the points of a table, by default the file's name; for line protocol, the
        one measurement to keep.
    time_column : str, optional
        By default the first of time, timestamp, _time, datetime and date that there is.
    tag_columns : sequence of str
        Columns that are tags; all others but the time are fields.
    moved : callable, optional
        Told how many of the file's bytes have been read (for tables, estimated by rows).
    skipped : callable, optional
        Told of each line that was left out, and why.
    """

    path: Path
    kind: str
    precision: str = "ns"
    measurement: str | None = None
    time_column: str | None = None
    tag_columns: Sequence[str] = ()
    moved: Callable[[int], None] = _ignore
    skipped: Callable[[str], None] = _ignore
    size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise DataError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if str(self.path) == "-":
            return
        if not self.path.is_file():
            raise DataError(f"there is no file {self.path}")
        self.size = self.path.stat().st_size

    def points(self) -> Iterator[Point]:
        """Yield the points in the order of the file.

        Raises
        ------
        DataError
            If the file is no table, or lacks a column. Single bad lines of line protocol
            are told to `skipped` and left out, as InfluxDB does with a partial write.
        """
        if self.kind == "lp":
            return self._lines()
        try:
            if self.kind == "csv":
                return self._table(self._csv())
            return self._table(self._parquet())
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path}: {error}") from error

    # -- line protocol -------------------------------------------------------------------

    def _lines(self) -> Iterator[Point]:
        splitter = LineSplitter()
        stream = sys.stdin.buffer if str(self.path) == "-" else self.path.open("rb")
        number = 0
        with stream:
            while True:
                block = stream.read(_BLOCK)
                lines = splitter.feed(block) if block else [splitter.close()]
                for line in lines:
                    # A string may hold newlines; the number is of the line it begins on.
                    first, number = number + 1, number + 1 + line.count(b"\n")
                    text = line.strip()
                    if not text or text.startswith(b"#"):
                        continue
                    try:
                        point = parse_line(line, self.precision)
                    except LineError as error:
                        self.skipped(f"{self.path}:{first}: {error}")
                        continue
                    if point.time is None:
                        self.skipped(f"{self.path}:{first}: the point has no time")
                        continue
                    if self.measurement in (None, point.name):
                        yield point
                if not block:
                    return
                self.moved(len(block))

    # -- tables --------------------------------------------------------------------------

    def _csv(self) -> Iterator[pa.RecordBatch]:
        with pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(block_size=_BLOCK * 4),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=True),
        ) as reader:
            yield from reader

    def _parquet(self) -> Iterator[pa.RecordBatch]:
        with pa.parquet.ParquetFile(self.path) as table:
            yield from table.iter_batches(batch_size=32_768)

    def _table(self, batches: Iterator[pa.RecordBatch]) -> Iterator[Point]:
        name = self.measurement or self.path.stem
        while True:
            try:
                batch = next(batches, None)
            except pa.ArrowInvalid as error:
                raise DataError(f"{self.path}: {error}") from error
            if batch is None:
                return
            time, tags, fields = self._columns(batch)
            keys = list(fields)
            tag_keys = list(tags)
            for row, stamp in enumerate(time):
                values = {key: fields[key][row] for key in keys if fields[key][row] is not None}
                if stamp is None or not values:
                    self.skipped(f"{self.path}: a row without a time or without a single field")
                    continue
                marks = {key: str(tags[key][row]) for key in tag_keys if tags[key][row] is not None}
                yield Point(name, marks, values, stamp)
            self.moved(batch.nbytes)

    def _columns(
        self, batch: pa.RecordBatch
    ) -> tuple[list[int | None], dict[str, list[Any]], dict[str, list[Any]]]:
        names = batch.schema.names
        time = self.time_column or next((c for c in _TIME_COLUMNS if c in names), None)
        missing = [c for c in (time, *self.tag_columns) if c is not None and c not in names]
        if time is None or missing:
            lack = ", ".join(missing) if missing else "for the time (name it with --time-column)"
            raise DataError(f"{self.path} has no column {lack}; it has {', '.join(names)}")
        tags = {c: batch.column(c).to_pylist() for c in self.tag_columns}
        fields: dict[str, list[Any]] = {}
        for column in names:
            if column == time or column in tags:
                continue
            fields[column] = self._field(batch.column(column))
        return self._times(time, batch.column(time)), tags, fields

    def _field(self, column: pa.Array) -> list[Any]:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            values: list[Any] = column.to_pylist()
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
            values = column.to_pylist()
        elif pa.types.is_decimal(kind):
            values = column.cast(pa.float64()).to_pylist()
        else:
            values = column.cast(pa.string()).to_pylist()
        return values

    def _times(self, name: str, column: pa.Array) -> list[int | None]:
        kind = column.type
        unit = PRECISIONS[self.precision]
        try:
            if pa.types.is_integer(kind):
                return [None if t is None else t * unit for t in column.to_pylist()]
            if pa.types.is_floating(kind):
                return [None if t is None else round(t * unit) for t in column.to_pylist()]
            stamps: list[int | None] = column.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.path}: column {name} does not hold times: {error}") from error
        return stamps


def kind_of(path: Path) -> str:
    """Tell the kind of a file by its name: csv, parquet, and line protocol for all others."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "csv"
    return "parquet" if suffix in (".parquet", ".pq") else "lp"
