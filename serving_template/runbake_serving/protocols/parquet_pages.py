"""How large a Parquet file's columns become, told from the pages' headers before anything is unpacked.

The footer only claims sizes; what a reader allocates is what each page's header says. So the headers of the
columns that are to be read are walked first: their uncompressed sizes are bounded, and they must hold as many
values as the footer says, so that the reader reads these pages and no others. The footer is read here too:
pyarrow's own view of it ends the process where statistics are damaged.

Repetition. A text that a dictionary holds once may be named by every row, and a delta encoding may repeat a
prefix in every row: flat texts are read as dictionaries, to be measured before they are written out; texts in
lists must fit even if each were the whole dictionary; the delta encoding of prefixes is refused.

Source: parquet-format 2.11, parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runbake_serving.errors import BodyTooLarge, InvalidRequest
from runbake_serving.protocols.thrift import Struct, ThriftReader

_MAGIC = b"PAR1"
_MOST_FOOTER_BYTES = 8 << 20
_DATA_V1, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BYTE_ARRAY, _REPEATED, _DELTA_BYTE_ARRAY = 6, 2, 7
_MOST_PAGES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A column of values: `path` begins with the name of the table's column that it belongs to."""

    path: tuple[str, ...]
    is_text: bool
    is_flat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a file says of itself: for each row group, the chunks of the leaves in order."""

    rows: int
    leaves: tuple[Leaf, ...]
    groups: tuple[Sequence[Struct], ...]


def footer_of(body: bytes) -> Footer:
    """The footer of this file.

    Raises:
        InvalidRequest: not a Parquet file, or encrypted, or its footer is damaged or too large.
    """
    length = int.from_bytes(body[-8:-4], "little")
    if len(body) < 12 or not body.startswith(_MAGIC) or not body.endswith(_MAGIC) or length > len(body) - 12:
        raise InvalidRequest("the body is not a valid Parquet file")
    if length > _MOST_FOOTER_BYTES:
        raise InvalidRequest("the file has too many columns or row groups")
    try:
        document = ThriftReader(body, len(body) - 8 - length, len(body) - 8).struct()
        leaves = tuple(_leaves(document[2]))
        groups = tuple(_chunks(group[1], len(leaves)) for group in document[4])
        rows = sum(_whole(group[3]) for group in document[4])
        return Footer(rows=max(rows, _whole(document[3])), leaves=leaves, groups=groups)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidRequest("the body is not a valid Parquet file") from error


def check_pages(body: bytes, footer: Footer, wanted: Collection[str], limit_bytes: int) -> list[str]:
    """The paths of flat columns of texts; the pages of the wanted columns unpack to `limit_bytes` at most.

    Raises:
        InvalidRequest: pages and footer do not agree.
        BodyTooLarge: the pages would take more.
    """
    budget, texts = _Budget(limit_bytes), []
    for number, leaf in enumerate(footer.leaves):
        if leaf.path[0] not in wanted:
            continue
        if leaf.is_text and leaf.is_flat:
            texts.append(".".join(leaf.path))
        for chunks in footer.groups:
            try:
                _check_chunk(body, chunks[number], leaf, budget)
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                raise InvalidRequest("the file's pages and footer do not agree") from error
    return texts


# --- the footer ----------------------------------------------------------------------------------------


def _leaves(elements: Sequence[Struct]) -> Iterator[Leaf]:
    # The schema is a tree, written down depth first; the first element is its root.
    rest = iter(elements[1:])

    def below(count: int, path: tuple[str, ...], repeated: bool) -> Iterator[Leaf]:
        for _ in range(count):
            element = next(rest, None)
            if element is None:
                raise ValueError("cut off")
            here = (*path, bytes(element[4]).decode())
            again = repeated or element.get(3) == _REPEATED
            if children := element.get(5):
                yield from below(_whole(children), here, again)
            else:
                yield Leaf(path=here, is_text=element.get(1) == _BYTE_ARRAY, is_flat=not again)

    yield from below(_whole(elements[0].get(5, 0)), (), False)
    if next(rest, None) is not None:
        raise ValueError("more than the tree")


def _chunks(columns: Sequence[Struct], count: int) -> Sequence[Struct]:
    if len(columns) != count or any(1 in column or 8 in column for column in columns):
        raise ValueError("chunks elsewhere, encrypted, or not one for each column")
    return [column[3] for column in columns]


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("not a count")
    return value


# --- pages ---------------------------------------------------------------------------------------------


class _Budget:
    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._left = limit_bytes, max(limit_bytes, 1 << 20)
        self._pages = _MOST_PAGES

    def spend(self, size_bytes: int) -> None:
        self._left -= size_bytes
        self._pages -= 1
        if self._left < 0 or self._pages < 0:
            raise BodyTooLarge(f"the table may take {self._limit_bytes} bytes at most, unpacked")


def _check_chunk(body: bytes, chunk: Struct, leaf: Leaf, budget: _Budget) -> None:
    expected = _whole(chunk[5])
    if not expected:
        return  # no page is read, and some writers do not tell where they are
    start, dictionary = _whole(chunk[9]), _whole(chunk.get(11, 0))
    if 0 < dictionary < start:
        start = dictionary
    end = start + _whole(chunk[7])
    if end > len(body):
        raise ValueError("outside of the file")
    values = dictionary_bytes = 0
    for page in _pages(body, start, end):
        budget.spend(page.unpacked_bytes)
        if page.kind == _DICTIONARY:
            dictionary_bytes = max(dictionary_bytes, page.unpacked_bytes)
            continue
        if page.encoding == _DELTA_BYTE_ARRAY and leaf.is_text:
            raise InvalidRequest("columns of texts in delta encoding are not read: write them plain")
        values += page.values
    if values != expected:
        raise ValueError("other pages than the footer says")
    # Each value of a list takes a word at least; one from a dictionary may be all of it.
    if not leaf.is_flat:
        budget.spend(values * (max(8, dictionary_bytes) if leaf.is_text else 8))


class _Page:
    __slots__ = ("encoding", "kind", "unpacked_bytes", "values")

    def __init__(self, header: Struct) -> None:
        self.kind = _whole(header[1])
        self.unpacked_bytes = _whole(header[2])
        details = header.get({_DATA_V1: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(self.kind, -1)) or {}
        self.values = _whole(details.get(1, 0))
        self.encoding = details.get(4 if self.kind == _DATA_V2 else 2)


def _pages(body: bytes, start: int, end: int) -> Iterator[_Page]:
    while start < end:
        reader = ThriftReader(body, start, end)
        header = reader.struct()
        yield _Page(header)
        start = reader.at + _whole(header[3])
    if start != end:
        raise ValueError("a page reaches over the end")
