"""Files that lead back to a run: manifests, stages' documents, saved headers; and the chain as a page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.provenance import BaseFacts, label_file_bytes, provenance_of
from runbake.trace import chain_of_label_file, chain_of_words, page_of, stop_of_file
from runbake_serving import contract
from tests.unit.samples import HOSTILE, RUN_ID, a_lock, a_model, a_run

BASE = BaseFacts(digest="sha256:" + "2" * 64, python="3.11.2")
LABEL_FILE = provenance_of(a_run(), a_model(), a_lock(), BASE, flavor="sklearn", codec_id="gzip:x").body
REFERENCE = f"h.x:5000/team/wine@sha256:{'1' * 64}"
MANIFEST: dict[str, Any] = {
    "schema": contract.BATCH_MANIFEST_SCHEMA,
    "rows_in": 178,
    "rows_out": 177,
    "image_digest": f"sha256:{'1' * 64}",
    "provenance": json.loads(LABEL_FILE),
    "provenance_digest": str(Digest.of(LABEL_FILE)),
}


def stage(kind: str, **more: object) -> bytes:
    """A stage's document."""
    return json.dumps({"schema": f"https://runbake.dev/schema/{kind}/v1", "status": "done", **more}).encode()


def test_a_label_file_is_written_one_way() -> None:
    """So that a copy inside another document can be held against its digest."""
    assert label_file_bytes(json.loads(LABEL_FILE)) == LABEL_FILE


def test_a_batch_manifest_carries_the_label_file() -> None:
    """The very bytes, and the image that made it."""
    stop = stop_of_file("scores", json.dumps(MANIFEST).encode())

    assert stop.body == LABEL_FILE
    assert stop.told == (("batch", "scores, 178 rows in, 177 out"), ("image", f"sha256:{'1' * 64}"))


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {**MANIFEST["provenance"], "tool": {"name": "x", "version": "1"}}},
        {"provenance_digest": f"sha256:{'0' * 64}"},
        {"provenance": None},
        {"provenance": "x"},
        {"schema": "https://runbake.dev/schema/other"},
        {"schema": ["x"]},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    """One changed word in the label file is enough."""
    with pytest.raises(TraceError, match="scores"):
        stop_of_file("scores", json.dumps({**MANIFEST, **change}).encode())


@pytest.mark.parametrize(
    ("body", "reference", "run", "last"),
    [
        (
            stage("image", reference=REFERENCE, run=RUN_ID),
            REFERENCE,
            RUN_ID,
            ("document", "f.json, image done"),
        ),
        (
            stage("ami", id="ami-0123456789abcdef0", region="eu-central-1", reference=REFERENCE, run=RUN_ID),
            REFERENCE,
            RUN_ID,
            ("ami", "ami-0123456789abcdef0 eu-central-1"),
        ),
        (
            stage("evaluation", verdict="failed", candidate={"run": RUN_ID}),
            "",
            RUN_ID,
            ("document", "f.json, evaluation failed"),
        ),
        (
            stage(
                "image",
                run=RUN_ID,
                gocd={"pipeline": "p", "counter": "3", "stage": "s", "url": "https://c/x"},
            ),
            "",
            RUN_ID,
            ("pipeline", "p/3/s https://c/x"),
        ),
    ],
)
def test_a_stage_s_document_leads_on(body: bytes, reference: str, run: str, last: tuple[str, str]) -> None:
    """To the image by digest where it names one, else to the run."""
    stop = stop_of_file("f.json", body)
    assert (stop.reference, stop.run, stop.told[-1]) == (reference, run, last)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b"{}",
        stage("image"),
        stage("image", run="../x", reference="h.x/a:latest"),
    ],
)
def test_a_file_that_leads_nowhere_is_refused(body: bytes) -> None:
    """By name, and not by a traceback."""
    with pytest.raises(TraceError, match=r"f\.json"):
        stop_of_file("f.json", body)


def test_saved_headers_lead_back() -> None:
    """Of several answers the last; names of headers in any case."""
    body = (
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        + f"x-runbake-run-id: {RUN_ID}\r\nX-Runbake-Image-Digest: sha256:{'1' * 64}\r\n\r\n".encode()
    )
    stop = stop_of_file("headers.txt", body)

    assert stop.run == RUN_ID
    assert stop.told == (("answer", "headers.txt"), ("run", RUN_ID), ("image", f"sha256:{'1' * 64}"))


def test_the_page_has_the_whole_chain_and_every_table() -> None:
    """One file, with the hash of its own style, and nothing to load."""
    chain = chain_of_label_file(LABEL_FILE, ("image", REFERENCE)).missing("MLflow is down")
    page = page_of(chain, title="Trace of wine")

    assert page.count("<li>") == len(chain_of_label_file(LABEL_FILE, ("image", REFERENCE)).links) - 2
    for text in (
        RUN_ID,
        REFERENCE,
        "MLflow is down",
        "<summary><bdi>Parameters</bdi> (1)</summary>",
        "accuracy",
        "Model files",
        "Wheels",
    ):
        assert text in page
    (style,) = re.findall("<style>(.*)</style>", page, re.DOTALL)
    assert f"style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in page
    assert not re.search(r"<script|src=|url\(", page)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {**MANIFEST["provenance"]["model"], "files": [1]}},
        {"model": {**MANIFEST["provenance"]["model"], "files": 5}},
        {
            "model": {
                **MANIFEST["provenance"]["model"],
                "files": [{"path": "x", "sha256": "0", "size": "big"}],
            }
        },
        {"environment": {**MANIFEST["provenance"]["environment"], "lock": {"digest": "x", "wheels": ["x"]}}},
    ],
)
def test_a_label_file_of_another_shape_is_no_traceback(change: dict[str, Any]) -> None:
    """Its digest agrees, as whoever wrote it wrote the digest as well."""
    chain = chain_of_label_file(label_file_bytes({**MANIFEST["provenance"], **change}), ("batch", "scores"))
    with pytest.raises(TraceError, match="Trace of scores"):
        page_of(chain, title="Trace of scores")


def test_the_tables_obey_nothing_that_a_label_file_says() -> None:
    """Names and values of every table are shown as they were written, each for itself in its direction."""
    hostile = f"{HOSTILE} <img src=x onerror=alert(1)> \u202eevil"
    run = {**MANIFEST["provenance"]["run"], "parameters": {hostile: hostile}}
    run["metrics"] = {hostile: {"value": hostile, "step": 0}}
    data = [
        {
            **dict.fromkeys(("name", "context", "source", "sourceType", "schema", "profile"), hostile),
            "mlflowDigest": {"value": hostile, "cryptographic": False},
        }
    ]
    model = {**MANIFEST["provenance"]["model"], "files": [{"path": hostile, "sha256": hostile, "size": 1}]}
    body = label_file_bytes({**MANIFEST["provenance"], "run": run, "data": data, "model": model})
    page = page_of(chain_of_label_file(body, ("batch", hostile)), title="Trace")

    assert "<img" not in page
    assert "<script" not in page
    assert not re.findall('href="(?!https?://)', page)
    assert not re.search("<(td|th|span)[^>]*>[^<]*\u202e", page)


def test_what_could_not_be_reached_is_in_page_and_document() -> None:
    """Once each, with its secrets replaced."""
    chain = chain_of_words((("run", RUN_ID),), RUN_ID)
    gone = chain.missing("no http://me:hunter2@h.x").missing("no http://me:hunter2@h.x")

    assert len(gone.missed) == 1
    assert gone.to_json()["notReached"] == list(gone.missed)
    assert "hunter2" not in page_of(gone, title="Trace") + str(gone.missed)
    assert "Not reached" in page_of(gone, title="Trace")


def test_the_page_obeys_nothing_that_mlflow_says() -> None:
    """Markup is shown as it was written, and only http and https become links."""
    hostile = f'{HOSTILE} <img src=x onerror=alert(1)> javascript:alert(1) https://h.x/"onclick="x'
    chain = chain_of_words((("run", hostile), ("ami", hostile)), RUN_ID).missing(hostile)
    page = page_of(chain, title=hostile)

    assert "<img" not in page
    assert set(re.findall('href="([^"]*)"', page)) == {"https://h.x/"}
    assert 'onclick="' not in page
