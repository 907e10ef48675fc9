"""Two label files side by side: each difference once, and what would break callers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from runbake.diff import SECTIONS, Difference, Side, differences
from runbake.errors import TraceError

LABEL_FILE: dict[str, Any] = {
    "run": {"parameters": {"C": "1"}, "metrics": {"accuracy": {"value": 0.9, "step": 0}}},
    "data": [
        {
            "name": "wine",
            "context": "training",
            "mlflowDigest": {"value": "1", "cryptographic": False},
            "source": "s",
        }
    ],
    "model": {
        "signature": {
            "inputs": [{"name": "x", "type": "double", "required": True}],
            "outputs": [{"name": "y", "type": "long", "required": True}],
            "params": None,
        },
        "files": [{"path": "model.skops", "size": 3, "sha256": "0" * 64}],
    },
    "environment": {"lock": {"wheels": [{"name": "numpy", "version": "2.0"}]}},
}


def side(label_file: dict[str, Any], *layers: tuple[str, int]) -> Side:
    return Side(name="n", label_file=label_file, layers=layers)


def test_equal_sides_have_no_difference() -> None:
    """Nothing is invented."""
    assert differences(side(LABEL_FILE, ("a", 1)), side(copy.deepcopy(LABEL_FILE), ("a", 1))) == ()


def test_every_section_tells_what_changed() -> None:
    """Parameters, metrics, data, requirements, signature, files and layers, in this order."""
    after = copy.deepcopy(LABEL_FILE)
    after["run"] = {"parameters": {"D": "1"}, "metrics": {"accuracy": {"value": 0.8, "step": 0}}}
    after["data"][0]["mlflowDigest"]["value"] = "2"
    after["environment"]["lock"]["wheels"][0]["version"] = "2.1"
    after["model"]["signature"]["inputs"][0]["type"] = "long"
    after["model"]["files"][0]["size"] = 4
    found = differences(side(LABEL_FILE, ("a", 1)), side(after, ("b", 2)))

    assert [each.section for each in found] == [SECTIONS[0], *SECTIONS, SECTIONS[-1]]
    assert found[0] == Difference(section="parameters", what="C", before="1", after="")
    assert found[2] == Difference(section="metrics", what="accuracy", before="0.9", after="0.8")


@pytest.mark.parametrize(
    ("part", "fields", "breaks"),
    [
        ("inputs", [{"name": "x", "type": "long", "required": True}], "its type is another"),
        ("inputs", [], ""),
        ("inputs", [{"name": "x", "type": "double", "required": False}], ""),
        ("outputs", [], "callers may use it, and it is gone"),
        ("outputs", [{"name": "y", "type": "string", "required": True}], "its type is another"),
    ],
)
def test_a_signature_tells_what_breaks_callers(part: str, fields: list[Any], breaks: str) -> None:
    """A type that changed and an answer that is gone do; an input that is not asked for any more does not."""
    after = copy.deepcopy(LABEL_FILE)
    after["model"]["signature"][part] = fields
    (found,) = differences(side(LABEL_FILE), side(after))

    assert (found.section, found.breaks) == ("signature", breaks)


@pytest.mark.parametrize(
    ("required", "breaks"), [(True, "callers do not send it, and it is required"), (False, "")]
)
def test_a_new_input_breaks_callers_when_it_is_required(required: bool, breaks: str) -> None:
    """An optional one does not."""
    after = copy.deepcopy(LABEL_FILE)
    after["model"]["signature"]["inputs"].append({"name": "z", "type": "double", "required": required})
    (found,) = differences(side(LABEL_FILE), side(after))

    assert found.breaks == breaks


@pytest.mark.parametrize("label_file", [{}, {**LABEL_FILE, "run": {}}, {**LABEL_FILE, "data": 3}])
def test_a_label_file_that_lacks_its_facts_is_an_error(label_file: dict[str, Any]) -> None:
    """Whoever can push may have written it."""
    with pytest.raises(TraceError, match="cannot be compared"):
        differences(side(label_file), side(LABEL_FILE))
