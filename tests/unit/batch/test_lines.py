"""Text is divided into whole records, whatever is in it, and nothing of it is lost."""

from __future__ import annotations

import csv
import io
import random

import pytest

from runbake_serving.batch.lines import BLOCK_BYTES, OPEN_QUOTE, TOO_LONG, Block, blocks_of, records_of

FIELDS = ("1", "", "x y", '"a,b"', '"two\nlines"', '"say ""so"""', '5" pipe', "ž", '"\n\n"', "''")


def some_csv(seed: int) -> bytes:
    """Rows of fields of every kind."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    rows = (",".join(dice.choice(FIELDS) for _ in range(3)) for _ in range(dice.randint(0, 60)))
    end = dice.choice(("\n", "\r\n"))
    return "".join(row + end for row in rows).encode() + dice.choice((b"", b"last,line,\xff"))


def blocks(data: bytes, rows: int, *, delimiter: str = ",", limit: int = 1 << 20) -> list[Block]:
    """All blocks of these bytes."""
    return list(blocks_of(io.BytesIO(data), rows=rows, delimiter=delimiter, limit_bytes=limit))


@pytest.mark.parametrize("seed", range(60))
def test_blocks_of_csv_are_whole_records(seed: int) -> None:
    """Whatever the block size, the records are those of Python's csv reader, and the bytes are all there."""
    data = some_csv(seed)
    wanted = [row for row in csv.reader(io.StringIO(data.decode("latin-1"), newline="")) if row]

    for rows in (1, 2, 7, 1000):
        found = blocks(data, rows)
        records = [record.decode("latin-1") for block in found for _, record in records_of(block.data, ",")]

        assert b"".join(block.data for block in found) == data
        assert [next(csv.reader(io.StringIO(record, newline=""))) for record in records] == wanted
        assert sum(block.lines for block in found) == data.count(b"\n") + (
            not data.endswith(b"\n") and bool(data)
        )


def test_a_blocks_lines_are_bounded() -> None:
    """A block has as many lines as asked for; the last one has the rest."""
    assert [block.lines for block in blocks(b"a\n" * 10, 4)] == [4, 4, 2]


def test_a_line_beyond_the_limit_is_alone_and_not_held() -> None:
    """It is told as too long, with its size; lines before and after it are whole."""
    data = b"a\n" + b"x" * (5 << 20) + b"\nb\n"

    found = blocks(data, 100, delimiter="", limit=1 << 20)

    assert [(block.data, block.lines, block.fault) for block in found] == [
        (b"a\n", 1, ""),
        (b"", 1, TOO_LONG),
        (b"b\n", 1, ""),
    ]
    assert sum(block.size_bytes for block in found) == len(data)


def test_a_quote_that_does_not_end_takes_no_other_row_with_it() -> None:
    """The line is told as faulty; the rows after it are read as if it were not there."""
    data = b'1,2\n3,"4\n5,6\n7,8\n'

    assert [(block.data, block.fault) for block in blocks(data, 100)] == [
        (b"1,2\n", ""),
        (b'3,"4\n', OPEN_QUOTE),
        (b"5,6\n7,8\n", ""),
    ]


def test_records_know_their_lines() -> None:
    """Blank lines are no records, and count as lines."""
    assert records_of(b'a,b\n\n"c\nd",e\n \nf,g', ",") == [(0, b"a,b\n"), (2, b'"c\nd",e\n'), (5, b"f,g")]


def test_a_long_line_after_an_open_quote_stays_in_its_place() -> None:
    """Rows between them and after them keep their order, and their lines."""
    data = b'1\n"2\n3\n4\n' + b"x" * (3 << 20) + b"\n6\n"

    found = blocks(data, 100, limit=1 << 20)

    assert [(block.data, block.lines, block.fault) for block in found] == [
        (b"1\n", 1, ""),
        (b'"2\n', 1, OPEN_QUOTE),
        (b"3\n4\n", 2, ""),
        (b"", 1, TOO_LONG),
        (b"6\n", 1, ""),
    ]


class Trickle(io.BytesIO):
    """A stream that gives less than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        """At most 300 kB."""
        return super().read(min(size or 0, 300_000) if size and size > 0 else 300_000)


def test_a_block_of_long_lines_is_bounded_in_bytes() -> None:
    """It ends at the same byte however the stream is read, so that parts are the same on every machine."""
    data = b"".join(b"%07d" % at + b"x" * 999_992 + b"\n" for at in range(100))

    found = blocks(data, 100, delimiter="")
    trickled = list(blocks_of(Trickle(data), rows=100, delimiter=""))
    assert [block.lines for block in found] == [BLOCK_BYTES // 1_000_000, 100 - BLOCK_BYTES // 1_000_000]
    assert b"".join(block.data for block in found) == data
    assert found == trickled
