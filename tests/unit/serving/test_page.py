"""The pages without a browser: what they show, which links they make, and that text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake_serving.label.facts import Facts, facts_of
from runbake_serving.label.provenance import provenance_of
from runbake_serving.model.signature import Column, Columns, Scalar, Tensor, Tensors
from runbake_serving.page.links import commit_link, run_link, web_address
from runbake_serving.page.view import fields_of
from runbake_serving.settings import Settings
from tests.unit.serving.test_app import answer_to
from tests.unit.serving.test_openapi import model_of
from tests.unit.serving.test_typed import PEOPLE

RUN = "0c2f4f5e1a2b4c6d8e9f0a1b2c3d4e5f"
COMMIT = "a3f5c9e17d2b4c6f8091a2b3c4d5e6f708192a3b"
LABELS: dict[str, Any] = {
    "run": {
        "id": RUN,
        "name": "wise-wine-17",
        "experiment": {"id": "3", "name": "wine quality"},
        "endedAt": "2026-11-20T08:21:13Z",
        "parameters": {"C": "0.5"},
        "metrics": {"accuracy": {"value": 0.97333333333, "step": 0}},
        "source": {
            "mlflow.source.git.repoURL": "https://github.com/example/wine.git",
            "mlflow.source.git.commit": COMMIT,
        },
    },
    "model": {"registeredName": "wine", "registeredVersion": "7", "flavor": "sklearn"},
    "data": [{"name": "wine-2026", "context": "training", "source": "https://data.example.org/w.parquet"}],
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}{%x%}'\"&\u202e\ud800"


class Tags(HTMLParser):
    """Tags with their attributes, and the page's text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        self.text += data


def page(labels: Any = LABELS, path: str = "/", model: Any = None, **settings: Any) -> Any:
    """An answer with a page."""
    provenance = provenance_of(json.dumps(labels).encode(), "test") if labels is not None else None
    answer = answer_to(
        model or model_of(PEOPLE), "GET", path, settings=Settings(**settings), provenance=provenance
    )
    assert answer.status_code == 200, answer.text
    return answer


def test_what_a_person_sees() -> None:
    """Name, version, run, metrics, parameters, data, signature and the chain, with their links."""
    seen = Tags(page(tracking_url="https://mlflow.example.org/").text)
    for text in (
        "wine",
        "version 7",
        "wise-wine-17",
        "accuracy",
        "0.973333",
        "0.5",
        "wine-2026",
        "age in years",
    ):
        assert text in seen.text
    links = {attributes["href"] for tag, attributes in seen.tags if tag == "a"}
    assert links == {
        f"https://mlflow.example.org/#/experiments/3/runs/{RUN}",
        f"https://github.com/example/wine/commit/{COMMIT}",
        "https://data.example.org/w.parquet",
        *("#try", "docs", "openapi.json", "provenance", "metrics"),
    }


def test_the_command_can_be_copied() -> None:
    """Split as a shell does, it is a request that is answered."""
    model = model_of(Columns(columns=(Column(name='it\'s "a" $(name)', type=Scalar.STRING, required=True),)))
    seen = Tags(page(model=model).text)
    start = seen.text.index("curl ")
    words = shlex.split(seen.text[start : seen.text.index("}'", start) + 2])
    assert words[1] == "http://test/predict"
    answer = answer_to(model, "POST", "/predict", content=words[words.index("-d") + 1])
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_hostile_text_stays_text(path: str) -> None:
    """No tag, attribute or link comes out of names and values."""
    labels = {
        "run": {
            "id": HOSTILE,
            "name": HOSTILE,
            "user": HOSTILE,
            "experiment": {"id": HOSTILE, "name": HOSTILE},
            "parameters": {HOSTILE: HOSTILE, "big": "x" * 100_000, "js": "javascript:alert(1)"},
            "metrics": {HOSTILE: {"value": HOSTILE}},
            "source": {"mlflow.source.git.repoURL": "javascript:alert(1)", "mlflow.source.name": HOSTILE},
        },
        "model": {
            "registeredName": HOSTILE,
            "registeredVersion": HOSTILE,
            "files": [{"path": HOSTILE, "size": 1, "sha256": HOSTILE}],
        },
        "data": [{"name": HOSTILE, "source": "javascript:alert(1)"}, {"source": 'https://x" onclick=y'}],
        "environment": {"lock": {"wheels": [{"name": HOSTILE, "version": HOSTILE}]}},
    }
    inputs = Columns(columns=(Column(name=HOSTILE.replace("\ud800", ""), type=Scalar.STRING, required=True),))
    answer = page(labels, path, model_of(inputs), tracking_url="javascript:alert(1)")
    seen, plain = Tags(answer.text), Tags(page(None, path).text)
    assert {tag for tag, _ in seen.tags} <= {*(tag for tag, _ in plain.tags), "time", "tbody", "h3"}
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    assert not [tag for tag, _ in seen.tags if tag in ("img", "iframe", "object", "link", "base")]
    for _, attributes in seen.tags:
        assert re.fullmatch(r"#?[a-z.-]*/?", attributes.get("href") or "")
    assert "{{7*7}}" in seen.text
    assert len(answer.content) < 200_000


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_policy(path: str) -> None:
    """Style and script are allowed by their digests alone, and nothing may be loaded."""
    answer = page(path=path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        for text in re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert policy[name] == f"'sha256-{digest}'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-runbake-run-id"] == RUN


def test_off() -> None:
    """RUNBAKE_PAGE=off removes the pages and /provenance; metrics and predictions stay."""
    for path, status in (("/", 404), ("/docs", 404), ("/provenance", 404), ("/metrics", 200)):
        answer = answer_to(model_of(PEOPLE), "GET", path, settings=Settings(page=False))
        assert answer.status_code == status


def test_without_label_file_and_signature() -> None:
    """A server outside an image, with a model that says nothing, has its page too."""
    seen = Tags(page(None, model=model_of(None)).text)
    assert "There is no label file" in seen.text
    assert "no signature" in seen.text
    assert not [tag for tag, _ in seen.tags if tag == "form"]


@pytest.mark.parametrize(
    "labels", [{}, {"run": 3, "model": [], "data": {"a": 1}}, {"run": {"metrics": {"a": 3}}}]
)
def test_other_label_files(labels: Any) -> None:
    """What is not there, or is of another form, is left out."""
    assert "Model in service" in page(labels).text


@pytest.mark.parametrize("host", ['evil" onload=x', "a b", "x" * 500, "<x>"])
def test_hosts(host: str) -> None:
    """A caller's idea of our name reaches the page only where it is a name."""
    from starlette.requests import Request

    from runbake_serving.routes.page import address_of

    request = Request({"type": "http", "headers": [(b"host", host.encode())]})
    assert address_of(request) == "http://localhost:8080"


def test_fields() -> None:
    """Each type has its control, with the example's value; wide tables and tensors are edited as JSON."""
    example = {"rows": [{"age in years": 3, "photo": "AAAA"}]}
    told = [(field.name, field.kind, field.value) for field in fields_of(PEOPLE, example)]
    assert told == [
        ("age in years", "whole", "3"),
        ("a/b~c", "number", ""),
        ("since", "text", ""),
        ("count", "whole", ""),
        ("photo", "text", "AAAA"),
    ]
    wide = Columns(columns=tuple(Column(name=f"c{n}", type=Scalar.DOUBLE, required=True) for n in range(100)))
    tensor = Tensors(tensors=(Tensor(name=None, dtype=np.dtype("float64"), shape=(-1, 2)),))
    for inputs in (wide, tensor):
        assert fields_of(inputs, None) == []
        assert "<textarea" in page(model=model_of(inputs)).text


@pytest.mark.parametrize(
    ("repository", "link"),
    [
        ("https://github.com/a/b.git", f"https://github.com/a/b/commit/{COMMIT}"),
        ("https://gitlab.example.org/a/b", f"https://gitlab.example.org/a/b/-/commit/{COMMIT}"),
        ("https://bitbucket.org/a/b/", f"https://bitbucket.org/a/b/commits/{COMMIT}"),
        ("https://code.example.org/a/b", "https://code.example.org/a/b"),
        ("http://github.com/a/b", ""),
        ("https://user:secret@github.com/a/b", ""),
        ("git@github.com:a/b.git", ""),
        ("javascript:alert(1)//github.com", ""),
        ("https://github.com\\@evil.example.org", ""),
        ("https://[", ""),
        ("//github.com/a", ""),
    ],
)
def test_commit_links(repository: str, link: str) -> None:
    """Only https, without credentials, and in the form of a site that is known."""
    source = {"mlflow.source.git.repoURL": repository, "mlflow.source.git.commit": COMMIT}
    assert commit_link(Facts(source=source)) == link


@given(st.text())
def test_addresses(text: str) -> None:
    """Whatever the text, an address is empty or begins with https and a host, and quotes what it must."""
    for given_text in (text, f"https://example.org/{text}"):
        address = web_address(given_text)
        assert not address or re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?([/?#][^\s\"'<>\\]*)?", address)


def test_run_link_quotes() -> None:
    """Ids from a label file cannot leave their place in the address."""
    facts = Facts(run_id="a/../b?c#d", experiment_id="1")
    assert (
        run_link(facts, "http://mlflow:5000/") == "http://mlflow:5000/#/experiments/1/runs/a%2F..%2Fb%3Fc%23d"
    )


def test_facts_are_cut_and_cleaned() -> None:
    """No text is longer than its limit, turns its surroundings around, or has control characters."""
    labels = {"run": {"name": "a\u202eb\x00c", "parameters": {f"p{n}": "x" * 9000 for n in range(900)}}}
    facts = facts_of(provenance_of(json.dumps(labels).encode(), "test"))
    assert facts.run_name == "a\ufffdb\ufffdc"
    assert len(facts.parameters) == 500
    assert {len(value) for _, value in facts.parameters} == {4097}


@pytest.mark.parametrize(
    ("kind", "told"),
    [("executable", "loading it runs code in it"), ("safe", "safe to load"), ("<b>", None)],
)
def test_whether_loading_it_runs_code_is_on_the_page(kind: str, told: str | None) -> None:
    """The label file's word for the format is told in a sentence; a word of another kind is not shown."""
    labels = {**LABELS, "model": {**LABELS["model"], "format": kind}}
    text = Tags(page(labels).text).text

    assert told in text if told else "Format" not in text
