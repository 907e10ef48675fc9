"""Arrow streams and Parquet files as data for a model, and predictions as an Arrow stream.

pyarrow is imported with the first such body (0.1 s): a worker that never sees one does not pay for it.

A column keeps the type it comes in; `enforcement` says whether that may become the signature's. Columns that
the signature does not name are not even decoded. Of types, those are read that a table of MLflow's can have:
numbers, booleans, text, bytes, times and dates, dictionaries of them, lists, structs and maps of them. Every
body is bounded before it is decoded (`arrow_bounds`, `parquet_pages`) and validated after.

Source: the Arrow columnar format 1.5; parquet-format 2.11.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from runbake_serving.errors import BodyTooLarge, InvalidRequest, NotAcceptable
from runbake_serving.model.casting import specs_of
from runbake_serving.model.model import Model, TableArray
from runbake_serving.model.signature import Columns, Inputs, Tensors
from runbake_serving.protocols.arrow_bounds import check_messages
from runbake_serving.protocols.parquet_pages import check_pages, footer_of

MOST_COLUMNS = 10_000
"""Columns of a table beside those of the signature."""
_MOST_CHUNKS = 200_000
_MOST_DEPTH = 8
_FAULTS = (
    pa.ArrowException,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    OSError,
    MemoryError,
    RecursionError,
    NotImplementedError,
)
"""What pyarrow raises for bytes that are not what they say."""
_SMALL = (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())
_WIDENED = {"float64": (pa.float32(), *_SMALL), "int64": _SMALL}
"""What `enforcement` widens in a DataFrame too: no value is lost."""
_NUMBERS = frozenset(
    type_.id
    for type_ in (
        pa.bool_(),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    )
)
"""Ids of the types of numbers, each of one width."""
_FLAT = _NUMBERS | {
    type_.id
    for type_ in (
        *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary()),
        *(pa.timestamp("ns"), pa.date32(), pa.date64()),
    )
}
"""Ids of the types that are read and hold no other; an id says nothing of units and zones."""


def table_of_stream(body: bytes, limit_bytes: int, inputs: Inputs | None) -> pa.Table:
    """The table in an Arrow IPC stream, with the columns that the signature names.

    Raises:
        InvalidRequest: not such a stream, or of types that are not read.
        BodyTooLarge: the table would take more than `limit_bytes`.
    """
    buffer = pa.py_buffer(body)
    try:
        most_batches = check_messages(buffer, limit_bytes)
        options = pa.ipc.IpcReadOptions(use_threads=False)
        with pa.ipc.open_stream(buffer, options=options) as reader:
            schema = reader.schema
            wanted = _wanted(schema, inputs)
            if len(wanted) * most_batches > _MOST_CHUNKS:
                raise InvalidRequest("the stream has too many batches for so many columns: send larger ones")
            if len(wanted) == len(schema):
                return _plain(reader.read_all(), limit_bytes)
        # Without a wanted column Arrow would take it for "all".
        if not wanted:
            return _plain(schema.empty_table().select([]), limit_bytes)
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=wanted)
        with pa.ipc.open_stream(buffer, options=options) as reader:
            return _plain(reader.read_all(), limit_bytes)
    except _FAULTS as error:
        raise InvalidRequest("the body is not a valid Arrow stream") from error


def table_of_parquet(body: bytes, limit_bytes: int, inputs: Inputs | None) -> pa.Table:
    """The table in a Parquet file, with the columns that the signature names.

    Raises:
        InvalidRequest: not such a file, or of types that are not read.
        BodyTooLarge: the table would take more than `limit_bytes`.
    """
    import pyarrow.parquet as pq

    try:
        footer = footer_of(body)
        with pq.ParquetFile(pa.BufferReader(body), pre_buffer=False) as file:
            schema = file.schema_arrow
        wanted = [schema.names[index] for index in _wanted(schema, inputs)]
        _check_rows(footer.rows, len(wanted), limit_bytes)
        texts = check_pages(body, footer, frozenset(wanted), limit_bytes)
        if len(footer.groups) * len(wanted) > _MOST_CHUNKS:
            raise InvalidRequest("the file has too many row groups for so many columns")
        if not wanted:
            return schema.empty_table().select([])
        with pq.ParquetFile(pa.BufferReader(body), pre_buffer=False, read_dictionary=texts) as file:
            table = file.read(columns=wanted, use_threads=False)
        return _plain(table.select(wanted), limit_bytes)
    except _FAULTS as error:
        raise InvalidRequest("the body is not a valid Parquet file") from error


def size_of(table: pa.Table) -> int:
    """The bytes that this table takes."""
    return int(table.get_total_buffer_size())


# --- what may be in a table ----------------------------------------------------------------------------


def _wanted(schema: pa.Schema, inputs: Inputs | None) -> list[int]:
    """Positions of the columns to read: those of the signature, or all where it has no names."""
    specs, index = specs_of(inputs), _index_columns(schema)
    every, types = schema.names, schema.types
    if len(every) > MOST_COLUMNS + len(specs):
        raise InvalidRequest("the table has too many columns")
    wanted = [
        position for position, name in enumerate(every) if name not in index and (not specs or name in specs)
    ]
    if len({every[position] for position in wanted}) != len(wanted):
        raise InvalidRequest("two columns of the table have one name")
    for position in wanted:
        if not is_read(types[position]):
            raise InvalidRequest(
                f"column {position} of the table has a type that is not read",
                column=every[position] if specs else None,
            )
    return wanted


def _index_columns(schema: pa.Schema) -> frozenset[str]:
    """Columns that hold the labels of rows, as pandas says in the schema's metadata."""
    text = (schema.metadata or {}).get(b"pandas")
    try:
        names = json.loads(text)["index_columns"] if text else ()
        return frozenset(name for name in names if isinstance(name, str))
    except (ValueError, TypeError, LookupError, RecursionError):
        return frozenset()


def is_read(type_: pa.DataType, depth: int = 0) -> bool:
    """Whether columns of this type are read."""
    if depth > _MOST_DEPTH or isinstance(type_, pa.BaseExtensionType):
        return False
    if type_.id in _FLAT:
        return True
    if pa.types.is_dictionary(type_):
        return depth == 0 and type_.value_type.id in _FLAT
    if pa.types.is_null(type_):
        return depth == 0
    if _is_list(type_):
        return is_read(type_.value_type, depth + 1)
    if pa.types.is_struct(type_):
        return all(is_read(field.type, depth + 1) for field in type_.fields)
    if pa.types.is_map(type_):
        return is_read(type_.key_type, depth + 1) and is_read(type_.item_type, depth + 1)
    return False


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    )


# --- bounds --------------------------------------------------------------------------------------------


def _check_rows(rows: int, columns: int, limit_bytes: int) -> None:
    # A column of nothing has no bytes, and a bit may become a word.
    if rows * max(1, columns) * 8 > max(limit_bytes, 1 << 20):
        raise _too_large(limit_bytes)


def _plain(table: pa.Table, limit_bytes: int) -> pa.Table:
    """The table validated, without dictionaries, and no larger than the limit."""
    _check_rows(table.num_rows, table.num_columns, limit_bytes)
    table.validate(full=True)
    weight = sum(_weight_of(chunk) for column in table.columns for chunk in column.chunks)
    if weight > max(limit_bytes, 1 << 20):
        raise _too_large(limit_bytes)
    for position, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.name, column)
    return table


def _weight_of(array: pa.Array) -> int:
    """Bytes that the values take, also where several share the same ones, or become objects."""
    type_ = array.type
    if type_.id in _NUMBERS:
        # Asking the array for its bytes takes longer than reading it.
        width: int = type_.bit_width + 64
        return width * len(array) // 8
    if pa.types.is_dictionary(type_):
        return _weight_of_dictionary(array)
    if _is_list(type_) or pa.types.is_map(type_):
        children = array.flatten() if not pa.types.is_map(type_) else None
        below = (
            _weight_of(children)
            if children is not None
            else _weight_of(_inside(array, array.keys)) + _weight_of(_inside(array, array.items))
        )
        return 128 * len(array) + below
    if pa.types.is_struct(type_):
        return 256 * len(array) + sum(_weight_of(child) for child in array.flatten())
    return int(array.nbytes) + 8 * len(array)


def _inside(array: pa.Array, values: pa.Array) -> pa.Array:
    if not len(array):
        return values.slice(0, 0)
    start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return values.slice(start, end - start)


def _weight_of_dictionary(array: pa.Array) -> int:
    values = array.dictionary
    if pa.types.is_primitive(values.type):
        return 8 * len(array)
    if not len(values):
        return 8 * len(array)
    # How long each value is, counted for each row that names it.
    lengths = np.fromiter((len(value) if value is not None else 0 for value in _bytes_of(values)), "int64")
    indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
    return 8 * len(array) + int(lengths[indices].sum())


def _bytes_of(values: pa.Array) -> list[bytes | None]:
    large = pa.large_binary()
    items: list[bytes | None] = values.cast(large).to_pylist()
    return items


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the table may take {limit_bytes} bytes at most, unpacked")


# --- from tables to data -------------------------------------------------------------------------------


def data_of_table(table: pa.Table, model: Model) -> Any:
    """What the model is asked: one array where its rules allow it and the types are right, else a DataFrame.

    Raises:
        InvalidRequest: the values cannot be turned into a DataFrame.
    """
    array = _array_of(table, model)
    if array is not None:
        return TableArray(array)
    try:
        frame = table.to_pandas(ignore_metadata=True, use_threads=False)
        if isinstance(model.inputs, Tensors):
            for name, column in zip(table.column_names, table.columns, strict=True):
                if _is_list(column.type):
                    frame[name] = column.to_pylist()
        return frame
    except _FAULTS as error:
        raise InvalidRequest("the table cannot be read: a value is out of range") from error


def _array_of(table: pa.Table, model: Model) -> np.ndarray[Any, Any] | None:
    inputs, wanted = model.inputs, model.rules.array_dtype
    if wanted is None or not model.quick_tables or not isinstance(inputs, Columns) or not table.num_rows:
        return None
    names, dtype = list(inputs.by_name), np.dtype(wanted)
    places = {name: place for place, name in enumerate(table.column_names)}
    if len(names) != len(inputs.columns) or not places.keys() >= set(names):
        return None
    types, fit = table.schema.types, (pa.from_numpy_dtype(dtype), *_WIDENED.get(dtype.name, ()))
    if not all(types[places[name]] in fit for name in names):
        return None
    if dtype.kind != "f" and any(table.column(places[name]).null_count for name in names):
        return None
    # Column by column, as a DataFrame keeps them too.
    values, start = np.empty((len(names), table.num_rows), dtype), 0
    for batch in table.to_batches():
        end = start + batch.num_rows
        for into, name in zip(values, names, strict=True):
            into[start:end] = batch.column(places[name]).to_numpy(zero_copy_only=False)
        start = end
    return values.T


# --- from predictions to a stream ----------------------------------------------------------------------


def stream_of(predictions: Any) -> bytes:
    """These predictions as an Arrow stream.

    Raises:
        NotAcceptable: they are not a table's.
    """
    try:
        table = _table_of(predictions)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data
    except _FAULTS as error:
        raise NotAcceptable("this model's answers are not a table's: ask for application/json") from error


def _table_of(predictions: Any) -> pa.Table:
    if isinstance(predictions, np.ndarray):
        return pa.table({"predictions": column_of(predictions)})
    if isinstance(predictions, Sequence) and not isinstance(predictions, (str, bytes)):
        return pa.table({"predictions": pa.array(predictions)})
    import pandas as pd

    if isinstance(predictions, pd.Series):
        predictions = pd.DataFrame(predictions)
    if not isinstance(predictions, pd.DataFrame):
        raise TypeError("not a table")
    return pa.Table.from_pandas(predictions, preserve_index=False, nthreads=1).replace_schema_metadata()


def column_of(array: np.ndarray[Any, Any]) -> pa.Array:
    """A column with a value, or a list of lists, for each row of an array.

    Raises:
        TypeError: the array has no rows.
    """
    if not array.ndim:
        raise TypeError("not a table")
    column = pa.array(array.reshape(-1))
    for length in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column
