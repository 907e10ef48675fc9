"""Structs of Thrift's compact protocol, as Parquet's footers and page headers are written in.

Source: thrift-compact-protocol.md of Apache Thrift.
"""

from __future__ import annotations

from typing import Any

_MOST_DEPTH = 12
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12

Struct = dict[int, Any]
"""Fields by number: whole numbers, bytes, lists and structs; of other types None."""


class ThriftReader:
    """Reads structs within `data[at:end]`.

    Raises (all methods):
        ValueError: these are not bytes of the protocol.
    """

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def struct(self, depth: int = 0) -> Struct:
        """The struct that begins here."""
        if depth > _MOST_DEPTH:
            raise ValueError("too deep")
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = None if head & 15 in (_TRUE, _FALSE) else self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in _LISTS:
            return self._list(depth + 1)
        if kind in (_BYTE, _TRUE, _FALSE):
            self._bytes(1)
        elif kind == _DOUBLE:
            self._bytes(8)
        else:
            raise ValueError("an unknown type")
        return None

    def _list(self, depth: int) -> list[Any]:
        if depth > _MOST_DEPTH:
            raise ValueError("too deep")
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        if count > self._end - self.at:
            raise ValueError("cut off")  # an element has a byte at least
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        if self.at >= self._end:
            raise ValueError("cut off")
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        start = self.at
        self.at += count
        if self.at > self._end:
            raise ValueError("cut off")
        return self._data[start : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("too long a number")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
