"""Requests that are nearly right: valid bodies in every form, and what bad luck and bad will make of them."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CANARY = "c4nary5ecret"
"""Stands for the caller's data: no refusal may repeat it."""

_JSON = "application/json"
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, -(2**63) - 1, 2**64, 10**400, 1e308, -0.0, 0.1, float("nan")),
    *(
        float("inf"),
        "",
        " ",
        CANARY,
        f"{CANARY}\u0000",
        "\ud800",
        "é漢😀",
        "NaN",
        "1e999",
        "2020-13-45T99:99:99Z",
    ),
    *("2020-01-01", "9999-12-31T23:59:59.999999999Z", "AAAA====", [], {}, [[]], [None], [CANARY, 1, None]),
    *({"": None}, {"a": {"b": [{}]}}, [[1, 2], [3]], list(range(300)), "x" * 5000),
)
_TOKENS = (
    *(
        b"NaN",
        b"-Infinity",
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\ud800",
        b",",
        b":",
        b"\x00",
        b"\xff",
    ),
    *(b"\r\n", b"\n", b"1e999", b"-0", b"9" * 400, b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 2000, b'{"a":' * 500),
    *(
        b"PAR1",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\x7f",
        b"\x80\x80\x80\x80\x08",
        b"ARROW1",
    ),
)
_CONTENT_TYPES = (
    *(
        _JSON,
        "Application/JSON; charset=UTF-8",
        "application/json; charset=utf-16",
        "application/json;;;",
        "json",
    ),
    *(
        "text/csv",
        "text/csv; header=absent",
        "text/csv; header=present; charset=latin-1",
        "text/csv; charset=idna",
    ),
    *(
        "text/csv; charset=utf-7",
        'TEXT/CSV;charset="utf-16"',
        "application/jsonlines",
        "application/x-ndjson",
    ),
    *("application/vnd.apache.parquet", "application/vnd.apache.arrow.stream", "application/octet-stream"),
    *(
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "",
        "/",
        "a/b;c",
        "\xff/\xfe",
        "*/*",
    ),
    *(
        "application/json; charset=" + "x" * 3000,
        "text/csv; charset=unicode_escape",
        "text/csv; charset=base64",
    ),
)
_HEADERS: tuple[tuple[str, Sequence[str]], ...] = (
    (
        "accept",
        (_JSON, "text/csv", "application/vnd.apache.arrow.stream", "image/png", "*/*;q=0", "a;q=x,,,", ""),
    ),
    ("accept-encoding", ("gzip", "deflate", "br", "*", "gzip;q=0", "identity;q=0", "")),
    ("content-encoding", ("gzip", "deflate", "br", "gzip, gzip", "identity", "")),
    ("inference-header-content-length", ("0", "1", "17", "-1", "99999999999999999999", "x", "1_0", "\u00b2")),
    ("traceparent", ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "00-0-0-0", "ff" * 40, "")),
    ("x-request-id", ("a", "x" * 500, "\xe9\xe9", "a b", "<script>")),
    ("expect", ("100-continue",)),
    ("connection", ("keep-alive", "close", "upgrade")),
    ("x-amzn-sagemaker-custom-attributes", (CANARY, "")),
)
_PATHS = (
    *("/", "/ping", "/health", "/version", "/metrics", "/openapi.json", "/docs", "/provenance"),
    *("/execution-parameters", "/v2", "/v2/health/ready", "/v2/models/model", "/v2/models/%2e%2e/infer"),
    *(
        "/v2/models/model/versions/1/infer",
        "/invocations/",
        "//invocations",
        "/%00",
        "/%ff%fe",
        "/a?b=%",
        "/*",
    ),
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE")
_NAMES_COLUMNS = frozenset({"columns", "name", "id", "datatype"})
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request; `form` names what it was before it was spoilt."""

    form: str
    method: str = "POST"
    path: str = "/invocations"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def raw(self) -> bytes:
        """The request on the wire: always good HTTP, whatever is in it."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: fuzz", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body


# --- valid requests ------------------------------------------------------------------------------------


def valid_requests(rows: Any, metadata: Mapping[str, Any]) -> list[Sent]:
    """These rows in every form that the server reads; `metadata` is what /v2/models/… told."""
    documents = _table_documents(rows) if isinstance(rows, pd.DataFrame) else _tensor_documents(rows)
    found = [_json_request(name, "/invocations", value) for name, value in documents.items()]
    if isinstance(rows, pd.DataFrame):
        found += [_json_request("typed", "/predict", {"rows": _records(rows)}), *_columnar(rows)]
    else:
        found.append(_json_request("typed", "/predict", documents["inputs"]))
    return [*found, *_v2_requests(rows, metadata)]


def _json_request(form: str, path: str, value: Any) -> Sent:
    return Sent(form=form, path=path, headers={"content-type": _JSON}, body=json.dumps(value).encode())


def _records(rows: pd.DataFrame) -> Any:
    return json.loads(rows.to_json(orient="records", date_format="iso"))


def _table_documents(rows: pd.DataFrame) -> dict[str, Any]:
    table = json.loads(rows.to_json(orient="split", date_format="iso", index=False))
    return {
        "dataframe_split": {"dataframe_split": table},
        "dataframe_records": {"dataframe_records": _records(rows)},
        "instances": {"instances": _records(rows)},
        "inputs": {
            "inputs": json.loads(rows.to_json(orient="columns", date_format="iso")) and _columns(rows)
        },
    }


def _columns(rows: pd.DataFrame) -> dict[str, Any]:
    records = _records(rows)
    return {str(name): [record[name] for record in records] for name in rows.columns}


def _tensor_documents(rows: Any) -> dict[str, Any]:
    values = np.asarray(rows).tolist()
    return {"inputs": {"inputs": values}, "instances": {"instances": values}}


def _columnar(rows: pd.DataFrame) -> list[Sent]:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    stream, parquet = BytesIO(), BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, parquet)
    lines = "".join(json.dumps(record) + "\n" for record in _records(rows))
    bodies = {
        "text/csv": rows.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S").encode(),
        "application/jsonlines": lines.encode(),
        "application/vnd.apache.arrow.stream": stream.getvalue(),
        "application/vnd.apache.parquet": parquet.getvalue(),
    }
    return [Sent(form=name, headers={"content-type": name}, body=body) for name, body in bodies.items()]


def _v2_requests(rows: Any, metadata: Mapping[str, Any]) -> list[Sent]:
    path = f"/v2/models/{metadata['name']}/infer"
    inputs, parts = [], []
    for tensor in metadata.get("inputs", ()):
        is_column = isinstance(rows, pd.DataFrame) and tensor["name"] in rows.columns
        values = _columns(rows)[tensor["name"]] if is_column else np.asarray(rows).tolist()
        shape = list(np.shape(values))
        inputs.append(
            {"name": tensor["name"], "shape": shape, "datatype": tensor["datatype"], "data": values}
        )
        parts.append(_packed(values, tensor["datatype"]))
    if not inputs:
        return []
    head = [
        {**{k: v for k, v in one.items() if k != "data"}, "parameters": {"binary_data_size": len(part)}}
        for one, part in zip(inputs, parts, strict=True)
    ]
    text = json.dumps({"inputs": head}).encode()
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
    return [
        _json_request("v2", path, {"id": "1", "inputs": inputs, "outputs": []} | {"outputs": None}),
        _json_request("v2", path, {"inputs": inputs}),
        Sent(form="v2 binary", path=path, headers=binary, body=text + b"".join(parts)),
    ]


def _packed(values: Any, datatype: str) -> bytes:
    if datatype == "BYTES":
        flat = [str(value).encode() for value in np.ravel(np.asarray(values, dtype=object))]
        return b"".join(len(one).to_bytes(4, "little") + one for one in flat)
    kinds = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "BOOL": "?"}
    kind = np.dtype(kinds.get(datatype, "<f8"))
    return np.asarray([0 if value is None else value for value in np.ravel(values)], dtype=kind).tobytes()


# --- spoiling them -------------------------------------------------------------------------------------


def spoilt(valid: Sequence[Sent], luck: random.Random) -> Sent:
    """One of the valid requests, with up to four things wrong with it; now and then with none."""
    request = luck.choice(valid)
    for _ in range(luck.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        request = luck.choices(_WAYS, _WEIGHTS)[0](request, valid, luck)
    return request


def _odd_node(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    """Another value somewhere in a JSON document, or a part of it gone or doubled."""
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        return _odd_bytes(request, _, luck)
    holder: Any = {"": copy.deepcopy(document)}
    root = holder
    key: Any = ""
    odd = luck.choice(_ODD_VALUES)
    while isinstance(holder[key], (dict, list)) and holder[key] and luck.random() < 0.8:
        holder = holder[key]
        key = luck.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if key in _NAMES_COLUMNS and CANARY in str(odd):
            odd = 1  # names may be told: they are the caller's fault, not data
    match luck.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend([copy.deepcopy(holder[key])] * luck.choice((1, 3, 100)))
        case 2:
            holder[key] = [holder[key]]
        case _:
            holder[key] = odd
    try:
        return replace(request, body=json.dumps(root.get("")).encode())
    except (ValueError, RecursionError):
        return request


def _uneven(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    """A thousand rows and one long text among them: small as JSON, huge where all take the room of one."""
    try:
        waiting = [json.loads(request.body)]
    except (ValueError, RecursionError):
        return _odd_bytes(request, _, luck)
    document = waiting[0]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list) and part and isinstance(part[-1], (list, dict)) and part[-1]:
            part.extend(copy.deepcopy(part[-1]) for _ in range(1000))
            row = luck.choice(part[-1000:])
            row[luck.choice(list(row) if isinstance(row, dict) else range(len(row)))] = CANARY * 3000
            break
        if isinstance(part, (list, dict)):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return replace(request, body=json.dumps(document).encode())


def _odd_bytes(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    body = bytearray(request.body)
    at, length = luck.randrange(len(body) + 1), luck.choice((1, 2, 4, 8, 30, 200))
    match luck.randrange(7):
        case 0 if body:
            body[at % len(body)] ^= 1 << luck.randrange(8)
        case 1 if body:
            body[at % len(body)] = luck.choice((0, 1, 0x7F, 0x80, 0xFF, luck.randrange(256)))
        case 2:
            del body[at : at + length]
        case 3:
            body[at:at] = body[at : at + length] * luck.choice((1, 2, 20))
        case 4:
            body[at:at] = luck.choice(_TOKENS)
        case 5:
            del body[at:]
        case _:
            body[at : at + length] = luck.randbytes(length)
    return replace(request, body=bytes(body))


def _odd_number(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    numbers = list(_NUMBER.finditer(request.body))
    if not numbers:
        return request
    found = luck.choice(numbers)
    odd = luck.choice(
        (b"NaN", b"1e400", b"-1", b"99999999999999999999", b"01", b"1.", b'"1"', b"null", b"", b"0x1")
    )
    return replace(request, body=request.body[: found.start()] + odd + request.body[found.end() :])


def _splice(request: Sent, valid: Sequence[Sent], luck: random.Random) -> Sent:
    other = luck.choice(valid).body
    head, tail = luck.randrange(len(request.body) + 1), luck.randrange(len(other) + 1)
    return replace(request, body=request.body[:head] + other[tail:])


def _other_type(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    return replace(request, headers={**request.headers, "content-type": luck.choice(_CONTENT_TYPES)})


def _without_type(request: Sent, _: Sequence[Sent], __: random.Random) -> Sent:
    return replace(request, headers={k: v for k, v in request.headers.items() if k != "content-type"})


def _odd_header(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    name, values = luck.choice(_HEADERS)
    return replace(request, headers={**request.headers, name: luck.choice(values)})


def _compressed(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    coding, pack = luck.choice((("gzip", gzip.compress), ("deflate", zlib.compress)))
    return replace(request, headers={**request.headers, "content-encoding": coding}, body=pack(request.body))


def _other_path(request: Sent, valid: Sequence[Sent], luck: random.Random) -> Sent:
    return replace(request, path=luck.choice((*_PATHS, *(one.path for one in valid))))


def _other_method(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    return replace(request, method=luck.choice(_METHODS))


def _in_latin_1(request: Sent, _: Sequence[Sent], luck: random.Random) -> Sent:
    text = request.body.decode("utf-8", "replace")
    coding = luck.choice(("latin-1", "utf-16", "utf-8-sig", "cp1252", "utf-32"))
    kind = f"{request.headers.get('content-type', _JSON)}; charset={coding}"
    return replace(
        request, headers={**request.headers, "content-type": kind}, body=text.encode(coding, "replace")
    )


_Way = Callable[[Sent, Sequence[Sent], random.Random], Sent]
_SHARES: tuple[tuple[_Way, int], ...] = (
    (_odd_node, 34),
    (_odd_bytes, 26),
    (_odd_number, 10),
    (_uneven, 1),
    (_splice, 5),
    (_other_type, 6),
    (_without_type, 1),
    (_odd_header, 6),
    (_compressed, 4),
    (_other_path, 2),
    (_other_method, 1),
    (_in_latin_1, 5),
)
_WAYS, _WEIGHTS = [way for way, _ in _SHARES], [share for _, share in _SHARES]
