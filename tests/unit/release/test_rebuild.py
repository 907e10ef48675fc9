"""The request that builds an image again: nothing is left open, and nothing odd is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbake.errors import VerificationFailed
from runbake.release import request_again
from runbake.release.assemble import assemble
from runbake.release.statements import Circumstances, slsa_of
from tests.unit.release.test_order import Effects, a_plan, doors_to
from tests.unit.samples import a_lock

BUILT = Circumstances(builder_id="b", invocation_id="i", started_at="", finished_at="")


def recorded(directory: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    plan = a_plan(directory)
    assembled = assemble(plan, doors_to(Effects(), directory))
    slsa = slsa_of(replace(plan, request=replace(plan.request, **changes)), assembled, BUILT)
    parameters: dict[str, Any] = slsa["buildDefinition"]["externalParameters"]
    # What a registry gives back is JSON: no tuples.
    return json.loads(json.dumps(parameters)), json.loads(assembled.provenance[0].body)


def test_every_setting_that_shapes_the_image_comes_back(tmp_path: Path) -> None:
    """Those that only say where it goes do not: nothing is pushed or written."""
    changes = {
        "bytecode": True,
        "whole_wheels": True,
        "additions": ("arrow",),
        "dataframe_path": True,
        "image_format": "docker",
        "model_layer": "none",
    }
    parameters, label_file = recorded(tmp_path, **changes)
    again = request_again(parameters, (label_file,))

    assert {name: getattr(again, name) for name in changes} == changes
    assert again.created == "2026-01-02T03:04:05Z"
    assert again.base.text == "h.x/base"
    (pinned,) = again.pinned
    assert pinned.lock == a_lock()
    assert pinned.base == label_file["environment"]["base"]["digest"]
    assert (again.repository, again.layout, again.archive, again.tags) == (None, None, None, ())


def test_the_base_may_have_moved(tmp_path: Path) -> None:
    """Another registry, the same digest."""
    parameters, label_file = recorded(tmp_path)
    again = request_again(parameters, (label_file,), "mirror.example/bases/py:3.11")

    assert again.base.text == "mirror.example/bases/py:3.11"
    assert again.pinned[0].base == label_file["environment"]["base"]["digest"]


def test_the_run_is_asked_for_as_it_was(tmp_path: Path) -> None:
    """The label file repeats the version that RUN named; else the model, else the run."""
    parameters, label_file = recorded(tmp_path)
    model = "m-" + "0" * 32

    def asked(**changes: Any) -> str:
        return str(request_again({**parameters, **changes}, (label_file,)).run)

    assert asked(registered=["wine", "7"], model=model) == "models:/wine/7"
    assert asked(registered=["", ""], model=model) == f"models:/{model}"
    assert asked(registered=["", ""], model="") == parameters["run"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parameters, _: parameters.pop("base"),
        lambda parameters, _: parameters.update(base="h.x/../../etc"),
        lambda parameters, _: parameters.update(platforms=["linux/riscv64"]),
        lambda parameters, _: parameters.update(bytecode="yes"),
        lambda parameters, _: parameters.update(format="zip"),
        lambda parameters, _: parameters.update(registered="wine/7"),
        lambda parameters, _: parameters.update(registered=["wine", "latest"]),
        lambda parameters, _: parameters.update({"with": ["--index-url=h.x"]}),
        lambda _, label_file: label_file["environment"]["base"].update(digest="latest"),
        lambda _, label_file: label_file["environment"]["lock"].update(python="3.12"),
        lambda _, label_file: label_file["environment"]["lock"]["wheels"][0].update(fileName="-r x.whl"),
        lambda _, label_file: label_file.pop("environment"),
    ],
)
def test_what_is_no_build_of_ours_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    """Each with the same error, before anything is fetched."""
    parameters, label_file = recorded(tmp_path)
    spoil(parameters, label_file)
    with pytest.raises(VerificationFailed, match="does not say how to build it"):
        request_again(parameters, (label_file,))
