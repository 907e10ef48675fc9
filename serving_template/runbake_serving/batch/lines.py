"""Text files as blocks of whole records, in bounded memory: csv and JSON Lines.

A record is a line; in csv one whose quoted fields hold line ends is several. Only lines with a quote in them
are parsed for that, by Python's csv reader; all others are found by their line ends alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

LINE_LIMIT_BYTES: Final = 16 << 20
"""A longer record is rejected, and never held."""
BLOCK_BYTES: Final = 64 << 20
"""Of long lines a block has fewer."""
_CHUNK_BYTES: Final = 1 << 20
_QUOTE: Final = b'"'
TOO_LONG: Final = f"longer than {LINE_LIMIT_BYTES >> 20} MiB"
OPEN_QUOTE: Final = "a quote does not end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Whole records.

    Attributes:
        data: their bytes with line ends.
        lines: lines of the file that they take, blank ones too.
        skipped_bytes: bytes of the file that are not in `data`.
        fault: why the one record of this block cannot be read; empty for all others.
    """

    data: bytes
    lines: int
    fault: str = ""
    skipped_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the file that it takes."""
        return len(self.data) + self.skipped_bytes


def blocks_of(
    stream: BinaryIO,
    *,
    rows: int,
    size_bytes: int = -1,
    delimiter: str = "",
    limit_bytes: int = LINE_LIMIT_BYTES,
) -> Iterator[Block]:
    """Blocks of at most so many lines, some more where a record ends later, and of about 64 MiB at most.

    `delimiter` is empty for JSON Lines. Reads `size_bytes` from where the stream is; -1 reads to its end.
    """
    source = _Lines(stream, size_bytes, limit_bytes)
    while (data := source.take(rows)) is not None:
        if data.fault or not delimiter or _QUOTE not in data.data:
            yield data
        else:
            yield from _whole_records(data.data, source, delimiter, limit_bytes)


class _Lines:
    """Takes whole lines from a stream, as many as asked for."""

    def __init__(self, stream: BinaryIO, size_bytes: int, limit_bytes: int) -> None:
        self._stream, self._left, self._limit = stream, size_bytes, limit_bytes
        self._held = b""
        self._next: Block | None = None
        self._after = b""

    def take(self, lines: int) -> Block | None:
        """The next lines, fewer at the end; a line beyond the limit comes alone. None at the end."""
        chunks, found, since_end, size_bytes = list[bytes](), 0, 0, 0
        while True:
            chunk = self._chunk()
            if not chunk:
                return self._last(b"".join(chunks), found)
            count = chunk.count(b"\n")
            if found + count >= lines:
                end = _end_of_line(chunk, lines - found)
                self._held = chunk[end:] + self._held
                chunks.append(chunk[:end])
                return Block(data=b"".join(chunks), lines=lines)
            chunks.append(chunk)
            found, size_bytes = found + count, size_bytes + len(chunk)
            if size_bytes >= BLOCK_BYTES and found:
                return self._bounded(b"".join(chunks))
            since_end = since_end + len(chunk) if not count else len(chunk) - chunk.rfind(b"\n") - 1
            if since_end > self._limit:
                return self._without_long_line(chunks, found)

    def _bounded(self, data: bytes) -> Block:
        # At a byte that does not depend on how the stream is read: parts are the same on every machine.
        end = data.rfind(b"\n", 0, BLOCK_BYTES) + 1 or data.find(b"\n") + 1
        self.give_back(data[end:])
        return Block(data=data[:end], lines=data.count(b"\n", 0, end))

    def take_one(self) -> bytes | None:
        """The next line; None at the end, and before one beyond the limit."""
        block = self.take(1)
        if block is None or not block.fault:
            return block.data if block is not None else None
        # What is given back comes before it, what is held already after it.
        self._next, self._after, self._held = block, self._held, b""
        return None

    def _last(self, data: bytes, found: int) -> Block | None:
        if data:
            return Block(data=data, lines=found + (not data.endswith(b"\n")))
        block, self._next = self._next, None
        self._held, self._after = self._after, b""
        return block

    def give_back(self, data: bytes) -> None:
        """Take these bytes again."""
        self._held = data + self._held

    def _chunk(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        if self._next is not None:
            return b""
        want = _CHUNK_BYTES if self._left < 0 else min(_CHUNK_BYTES, self._left)
        chunk = self._stream.read(want) if want else b""
        if self._left > 0:
            self._left -= len(chunk)
        return chunk

    def _without_long_line(self, chunks: list[bytes], found: int) -> Block:
        data = b"".join(chunks)
        if found:
            end = data.rfind(b"\n") + 1
            self.give_back(data[end:])
            return Block(data=data[:end], lines=found)
        skipped = len(data)
        while chunk := self._chunk():
            if (end := chunk.find(b"\n") + 1) > 0:
                self.give_back(chunk[end:])
                skipped += end
                break
            skipped += len(chunk)
        return Block(data=b"", lines=1, fault=TOO_LONG, skipped_bytes=skipped)


def _end_of_line(chunk: bytes, number: int) -> int:
    """The offset after the `number`-th line end, counted from 1."""
    if number == 1:
        return chunk.find(b"\n") + 1
    ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 10)
    return int(ends[number - 1]) + 1


def _whole_records(data: bytes, source: _Lines, delimiter: str, limit_bytes: int) -> Iterator[Block]:
    lines, whole, at = _split(data), list[bytes](), 0
    while at < len(lines):
        end = at + 1
        if _QUOTE in lines[at]:
            end = _record_end(lines, at, delimiter, limit_bytes, source.take_one)
        if end == at:
            # The quote is a slip: its line alone is no record, and the next ones are their own.
            if whole:
                yield Block(data=b"".join(whole), lines=len(whole))
            yield Block(data=lines[at], lines=1, fault=OPEN_QUOTE)
            source.give_back(b"".join(lines[at + 1 :]))
            return
        whole += lines[at:end]
        at = end
    if whole:
        yield Block(data=b"".join(whole), lines=len(whole))


def _record_end(
    lines: list[bytes], at: int, delimiter: str, limit_bytes: int, more: Callable[[], bytes | None]
) -> int:
    """Where the record that begins with line `at` ends; `at` itself where a quote in it does not end.

    Lines that `more` gives are appended to `lines`.
    """
    asked_too_much = False

    def texts() -> Iterator[str]:
        nonlocal asked_too_much
        size_bytes, here = 0, at
        while size_bytes <= limit_bytes:
            if here == len(lines):
                if (line := more()) is None:
                    break
                lines.append(line)
            size_bytes += len(lines[here])
            # latin-1 keeps every byte that csv looks at.
            yield lines[here].decode("latin-1")
            here += 1
        asked_too_much = True

    reader = csv.reader(texts(), delimiter=delimiter)
    try:
        next(reader)
    except csv.Error:
        return at
    return at if asked_too_much else at + reader.line_num


def _split(data: bytes) -> list[bytes]:
    """The lines of these bytes with their ends; the last may have none."""
    *lines, last = data.split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]


def records_of(data: bytes, delimiter: str) -> list[tuple[int, bytes]]:
    """The records of a block that are not blank: (lines of the block before it, bytes)."""
    lines, found, at = _split(data), list[tuple[int, bytes]](), 0
    while at < len(lines):
        end = at + 1
        if delimiter and _QUOTE in lines[at]:
            end = max(end, _record_end(lines, at, delimiter, LINE_LIMIT_BYTES, _nothing_more))
        record = b"".join(lines[at:end])
        # Of a file separated by tabs, a row of gaps is tabs alone.
        if record.strip(b" \t\r\n".replace(delimiter.encode(), b"") if delimiter else b" \t\r\n"):
            found.append((at, record))
        at = end
    return found


def _nothing_more() -> None:
    return None
