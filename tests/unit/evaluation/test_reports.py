"""The page, the JUnit file and the summary: whole, and deaf to what names from outside say."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from runbake.evaluation import gate_of, junit_of, page_of, summary_of
from tests.unit.evaluation.samples import comparison, evaluation

HOSTILE = "</style><script>alert(1)</script>\"'{{7*7}}|\x00\x1b[31m"
ROOT = Path(__file__).parents[3]
GATES = [gate_of({"metric": "accuracy", "at-least": limit, "slices": True}) for limit in (0.1, 0.99)]


def hostile() -> object:
    truth = [HOSTILE, "b"] * 30
    return comparison(truth, truth[:50] + ["b"] * 10, ["b"] * 60, slices={HOSTILE: [HOSTILE] * 60})


class Tags(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_page_runs_and_loads_nothing(kind: str) -> None:
    """Hostile names stand in it as text; no script, link, image, handler or inline style does."""
    numbers = [float(i) + 0.5 for i in range(40)]
    found = hostile() if kind == "classes" else comparison(numbers, numbers[::-1], numbers)
    page = page_of(evaluation(found, GATES, text=HOSTILE), title=HOSTILE)  # type: ignore[arg-type]
    tags = Tags()
    tags.feed(page)

    assert not tags.seen & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
    assert not {name for name in tags.attributes if name.startswith("on") or name in ("style", "src", "href")}
    assert "&lt;script&gt;" in page
    assert "svg" in tags.seen


def test_junit_counts_what_failed() -> None:
    """One test case for each gate and slice, well-formed whatever the names are."""
    suite = ET.fromstring(junit_of(evaluation(hostile(), GATES, text=HOSTILE)))  # type: ignore[arg-type]  # noqa: S314

    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    assert len(suite.findall("testcase/failure")) == 2


def test_the_summary_breaks_no_line_and_no_terminal() -> None:
    """Every row of a table has its columns, and nothing controls the terminal."""
    summary = summary_of(evaluation(hostile(), GATES, text=HOSTILE))  # type: ignore[arg-type]

    assert summary.replace("\n", "").isprintable()
    assert "# Evaluation: failed" in summary
    assert "worst slices" in summary


def test_the_document_follows_its_schema() -> None:
    """evaluation.json is what docs/schemas says, also where numbers are not defined."""
    schema = json.loads((ROOT / "docs/schemas/evaluation-v1.json").read_text())
    for found in (hostile(), comparison([0.5, 1.5], [0.5, float("nan")])):
        document = json.loads(json.dumps(evaluation(found, GATES).to_json(), allow_nan=False))  # type: ignore[arg-type]
        jsonschema.Draft202012Validator(schema).validate(
            {"schema": schema["properties"]["schema"]["const"], "status": "done", "tool": {}, "gocd": None}
            | document
        )


@pytest.mark.parametrize(("classes", "slices", "said"), [(21, 41, True), (20, 40, False)])
def test_the_page_says_what_it_leaves_out(classes: int, slices: int, said: bool) -> None:
    """A reader must not take forty slices or twenty classes for all of them."""
    truth = [f"c{row % classes}" for row in range(classes * 2)]
    columns = {f"s{number}": ["x"] * len(truth) for number in range(slices)}
    page = page_of(evaluation(comparison(truth, truth, slices=columns)), title="t")

    assert ("The worst 40 of 41;" in page, "The 20 most frequent of 21 classes" in page) == (said, said)
