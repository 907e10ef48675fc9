"""MLflow's scoring protocol: bodies of /invocations.

JSON (`json_forms`), csv, JSON Lines, Parquet and Arrow streams, each maybe compressed. docs/serving.md lists
where answers differ from those of MLflow's own server.

Source: mlflow/pyfunc/scoring_server/__init__.py of MLflow 3.17.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from runbake_serving.errors import UnsupportedMedia
from runbake_serving.model.model import Model, Question
from runbake_serving.protocols.answers import ARROW, LINES
from runbake_serving.protocols.arrow_here import HAS_ARROW, MISSING
from runbake_serving.protocols.charsets import decoded
from runbake_serving.protocols.compression import unpacked
from runbake_serving.protocols.csv import frame_of_csv
from runbake_serving.protocols.json_forms import FORMATS, question_of_form, question_of_json
from runbake_serving.protocols.json_lines import form_of_lines
from runbake_serving.protocols.media_type import MediaType
from runbake_serving.service import Unpacked

PARQUET = ("application/vnd.apache.parquet", "application/x-parquet", "application/parquet")
READ = ("application/json", "text/csv", LINES[0], PARQUET[0], ARROW)
"""Content types; some are known by other names too."""
_OFFLINE_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Reader:
    """How a body becomes a question, in one step or two; see `Service.answer`."""

    read: Callable[[Any], Question]
    unpack: Callable[[bytes, int], Unpacked] | None = None
    at_once: bool = True


def reader_of(media_type: MediaType, model: Model, *, coding: str = "") -> Reader:
    """How to read bodies of this content type for this model, compressed as `coding` says.

    Raises:
        UnsupportedMedia: a content type, or a parameter of it, that is not known.
    """
    table = _table_reader(media_type, model)
    if table is not None:
        read, open_table = table

        def unpack_table(body: bytes, limit_bytes: int) -> Unpacked:
            return open_table(unpacked(body, coding, limit_bytes) if coding else body, limit_bytes)

        # pyarrow is imported with the first table, which takes long; Parquet is never quick.
        at_once = media_type.name == ARROW and "pyarrow" in sys.modules
        return Reader(read, unpack_table, at_once)
    read = _plain_reader(media_type, model)
    if not coding:
        return Reader(read)

    def unpack(body: bytes, limit_bytes: int) -> Unpacked:
        plain = unpacked(body, coding, limit_bytes)
        return Unpacked(plain, len(plain))

    return Reader(read, unpack)


def question_of(body: bytes, media_type: MediaType, model: Model) -> Question:
    """What one body asks, not yet checked against the signature; for what is no request over HTTP.

    Raises:
        UnsupportedMedia: a content type, or a parameter of it, that is not known.
        InvalidRequest: the body is not what its content type promises.
    """
    reader = reader_of(media_type, model)
    if reader.unpack is None:
        return reader.read(body)
    return reader.read(reader.unpack(body, _OFFLINE_LIMIT_BYTES).data)


def _plain_reader(media_type: MediaType, model: Model) -> Callable[[bytes], Question]:
    name = media_type.name
    if name == "application/json":
        _check_parameters(media_type, known=("charset",))
        charset = media_type.parameters.get("charset", "utf-8")
        if charset in ("utf-8", "utf8"):
            return partial(question_of_json, model=model)
        return lambda body: question_of_json(decoded(body, charset), model)
    if name == "text/csv":
        _check_parameters(media_type, known=("charset", "header"))
        return lambda body: Question(data=frame_of_csv(body, media_type.parameters, model.inputs))
    if name in LINES:
        _check_parameters(media_type, known=("charset",))
        charset = media_type.parameters.get("charset", "utf-8")
        return lambda body: _question_of_lines(decoded(body, charset).encode(), model)
    raise UnsupportedMedia(f"this route reads {', '.join(READ)}")


def _question_of_lines(body: bytes, model: Model) -> Question:
    form, value = form_of_lines(body, model.inputs, as_given=model.rules.takes_inputs_as_given)
    return question_of_form(form, value, model)


def _table_reader(
    media_type: MediaType, model: Model
) -> tuple[Callable[[Any], Question], Callable[[bytes, int], Unpacked]] | None:
    if media_type.name != ARROW and media_type.name not in PARQUET:
        return None
    if not HAS_ARROW:
        raise UnsupportedMedia(MISSING)
    _check_parameters(media_type, known=())
    is_arrow = media_type.name == ARROW

    def read(table: Any) -> Question:
        from runbake_serving.protocols.columnar import data_of_table

        return Question(data=data_of_table(table, model))

    def unpack(body: bytes, limit_bytes: int) -> Unpacked:
        from runbake_serving.protocols.columnar import size_of, table_of_parquet, table_of_stream

        table = (table_of_stream if is_arrow else table_of_parquet)(body, limit_bytes, model.inputs)
        return Unpacked(table, size_of(table))

    return read, unpack


def _check_parameters(media_type: MediaType, *, known: tuple[str, ...]) -> None:
    if media_type.parameters.keys() - set(known):
        names = f"the parameters {', '.join(known)}" if known else "no parameters"
        raise UnsupportedMedia(f"{media_type.name} takes {names}")


__all__ = ["FORMATS", "READ", "Reader", "question_of", "reader_of"]
