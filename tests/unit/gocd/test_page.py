"""The pages of GoCD's tabs, and the URLs of GoCD's own pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import NotInGocd
from runbake.gocd import Place, document_page, invocation_of, place_of, run_built_in

JOB = invocation_of(
    {
        "GO_SERVER_URL": "https://user:word@ci.example.org:8154/go",
        "GO_PIPELINE_NAME": "fraud",
        "GO_PIPELINE_COUNTER": "3",
        "GO_PIPELINE_LABEL": "3-<b>-label",
        "GO_STAGE_NAME": "containerize",
        "GO_STAGE_COUNTER": "1",
        "GO_JOB_NAME": "containerize",
    }
)
RUN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


class Read(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"html", "head", "meta", "title", "style", "body", "h1", "p", "a", "table", "tr", "th", "td", "div"}


@given(
    st.dictionaries(st.text(), st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=4))
)
def test_no_text_of_a_document_becomes_an_element(document: dict[str, object]) -> None:
    """Whatever stands in it: the page has our elements only, and no attribute but ours."""
    hostile = {**document, "<script>alert(1)</script>": '"><img src=x onerror=alert(1)>'}
    read = Read(document_page(json.dumps(hostile).encode(), name="image.json", job=JOB))

    assert {tag for tag, _ in read.tags} <= OURS
    assert {name for _, attributes in read.tags for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "scope", "href", "target", "rel")
    }
    assert "<script>alert(1)</script>" in read.text


def test_a_page_leads_to_value_stream_job_and_document() -> None:
    """Nothing is loaded, and no password stands in it."""
    page = document_page(b'{"status": "done", "proofs": [{"rows": 3}]}', name="image.json", job=JOB)
    links = [attributes["href"] for tag, attributes in Read(page).tags if tag == "a"]

    assert links == [
        "https://ci.example.org:8154/go/pipelines/value_stream_map/fraud/3",
        "https://ci.example.org:8154/go/tab/build/detail/fraud/3/containerize/1/containerize",
        "./image.json",
    ]
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert "word" not in page
    assert "src=" not in page.replace("style-src=", "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ended without writing image.json"),
        (b"{", "is no document"),
        (b"[1]", "is no document"),
        (b"[" * 100_000, "is no document"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "is no document"),
        (b"\xff", "is no document"),
    ],
)
def test_a_missing_or_broken_document_has_a_page_that_says_so(body: bytes, said: str) -> None:
    """GoCD fails a job whose declared artifact is not there, and shows nothing of it."""
    assert said in document_page(body, name="image.json", job=None)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/go/pipelines/value_stream_map/fraud/3", ("/go", "fraud", 3)),
        ("/go/tab/build/detail/fraud/3/deploy/1/deploy#tab-console", ("/go", "fraud", 3)),
        ("/go/pipelines/fraud/3/containerize/2", ("/go", "fraud", 3)),
        ("/go/files/fraud/3/containerize/1/containerize/runbake/image.json", ("/go", "fraud", 3)),
        ("/go/api/stages/fraud/3/containerize/1", ("/go", "fraud", 3)),
        ("/ci/main/go/pipelines/a.b-c_d/12", ("/ci/main/go", "a.b-c_d", 12)),
        ("/pipelines/fraud/3", ("", "fraud", 3)),
    ],
)
def test_pages_of_gocd_name_a_pipelines_run(path: str, place: tuple[str, str, int]) -> None:
    """Value stream map, job, stage, artifact and API answer; credentials in the URL are dropped."""
    root, pipeline, counter = place
    expected = Place(server=f"https://ci.example.org:8154{root}", pipeline=pipeline, counter=counter)
    assert place_of(f"https://me:word@CI.example.org:8154{path}") == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/ping",
        "ftp://ci.example.org/go/pipelines/fraud/3",
        "https://ci.example.org/go/pipelines/fraud",
        "https://ci.example.org/go/pipelines/fraud/x",
        "https://ci.example.org/go/pipelines/..%2f..%2fadmin/3",
        "https://ci.example.org/go/pipelines/value_stream_map/fraud",
    ],
)
def test_other_urls_are_no_page_of_gocd(url: str) -> None:
    """A served model's address stays one, and no name leaves its place in a path."""
    assert place_of(url) is None


def instance(label: str, *revisions: str) -> dict[str, object]:
    """A pipeline's run as GoCD tells it."""
    found = [
        {"material": {"type": "Package"}, "modifications": [{"revision": revision}]} for revision in revisions
    ]
    return {"name": "fraud", "counter": 3, "label": label, "build_cause": {"material_revisions": found}}


@pytest.mark.parametrize(
    "told",
    [instance(f"3-{RUN}-0011223344556677", OTHER), instance("3", RUN), instance("3", f"{RUN};{OTHER}")],
)
def test_the_run_is_of_the_label_else_of_the_package(told: dict[str, object]) -> None:
    """What the trigger asked for is in the label; the plugin's revision stands for older pipelines."""
    assert run_built_in(told).run_id == RUN


@pytest.mark.parametrize("told", [instance("3"), instance("3", RUN, OTHER), {"build_cause": None}, {}])
def test_no_run_or_several_are_an_error_that_lists_them(told: dict[str, object]) -> None:
    """Nothing is guessed."""
    with pytest.raises(NotInGocd, match="name no single run"):
        run_built_in(told)
