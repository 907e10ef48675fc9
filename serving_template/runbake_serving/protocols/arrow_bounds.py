"""How large an Arrow stream becomes, told from its messages before anything is unpacked.

Each batch lists its buffers; a compressed one begins with the size that it unpacks to, which Arrow keeps to.
What is compressed is so bounded by the sum of these sizes.

Source: Arrow's format/Message.fbs and format/Schema.fbs; FlatBuffers' internals (tables begin with the
distance to their vtable, which has a 16-bit offset for each field).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

from runbake_serving.errors import BodyTooLarge, InvalidRequest

MOST_MESSAGES = 20_000
_DICTIONARY, _BATCH = 2, 3
_HEADER_TYPE, _HEADER, _CUSTOM_METADATA = 1, 2, 4
_DATA_OF_DICTIONARY = 1
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3


def check_messages(stream: pa.Buffer, limit_bytes: int) -> int:
    """How many batches the stream has; their buffers unpack to `limit_bytes` at most.

    Raises:
        InvalidRequest: not messages of Arrow, or too many.
        BodyTooLarge: they would take more.
    """
    unpacked_bytes = batches = 0
    for number, message in enumerate(_messages(stream)):
        if number > MOST_MESSAGES:
            raise InvalidRequest("the stream has too many batches: send larger ones")
        try:
            size_bytes, is_batch = _unpacked_bytes(message)
        except struct.error as error:
            raise InvalidRequest("the body is not a valid Arrow stream") from error
        unpacked_bytes, batches = unpacked_bytes + size_bytes, batches + is_batch
        if unpacked_bytes > max(limit_bytes, 1 << 20):
            raise BodyTooLarge(f"the table may take {limit_bytes} bytes at most, unpacked")
    return batches


def _messages(stream: pa.Buffer) -> Iterator[pa.Message]:
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _unpacked_bytes(message: pa.Message) -> tuple[int, bool]:
    # Copies, no memoryviews: before 3.11.9 Python crashes when the garbage of a refusal holds one in use.
    # Source: https://github.com/python/cpython/issues/77894
    metadata = message.metadata.to_pybytes()
    root = _Table.root(metadata)
    kind = metadata[at] if (at := root.field(_HEADER_TYPE)) else 0
    if kind not in (_DICTIONARY, _BATCH):
        return 0, False
    if root.field(_CUSTOM_METADATA):
        # Before the format had a place for it, this was where compression was told.
        raise InvalidRequest("batches with metadata of their own are not read")
    batch = root.table(_HEADER)
    if kind == _DICTIONARY:
        batch = batch.table(_DATA_OF_DICTIONARY)
    compressed = bool(batch.field(_COMPRESSION))
    return sum(_size(message.body, *place, compressed) for place in batch.places(_BUFFERS)), kind == _BATCH


def _size(body: pa.Buffer | None, offset: int, length: int, compressed: bool) -> int:
    if length < 0 or offset < 0 or offset + length > (0 if body is None else body.size):
        raise InvalidRequest("the body is not a valid Arrow stream")
    if not compressed or not length or body is None:
        return length
    (unpacked,) = struct.unpack("<q", body.slice(offset, 8).to_pybytes())
    # -1: this buffer was left as it is.
    return max(length, int(unpacked))


class _Table:
    """A FlatBuffers table, read within its bounds: `struct.error` where it points outside."""

    __slots__ = ("_data", "_start", "_vtable", "_vtable_bytes")

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start
        self._vtable = start - _read("<i", data, start)
        self._vtable_bytes = _read("<H", data, self._vtable)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """The table that the data begin with."""
        return cls(data, _read("<I", data, 0))

    def field(self, number: int) -> int:
        """Where this field is; 0 where it is not there."""
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_bytes:
            return 0
        offset = _read("<H", self._data, self._vtable + slot)
        if not offset:
            return 0
        if self._start + offset >= len(self._data):
            raise struct.error("outside")
        return self._start + offset

    def table(self, number: int) -> _Table:
        """The table that this field points to."""
        at = self.field(number)
        if not at:
            raise struct.error("missing")
        return _Table(self._data, at + _read("<I", self._data, at))

    def places(self, number: int) -> Iterator[tuple[int, int]]:
        """The structs of two 64-bit integers in this vector."""
        at = self.field(number)
        if not at:
            return iter(())
        start = at + _read("<I", self._data, at)
        count = _read("<I", self._data, start)
        if start + 4 + 16 * count > len(self._data):
            raise struct.error("outside")
        pairs: Iterator[tuple[int, int]] = struct.iter_unpack(
            "<qq", self._data[start + 4 : start + 4 + 16 * count]
        )
        return pairs


def _read(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("outside")
    return int(struct.unpack_from(form, data, at)[0])
