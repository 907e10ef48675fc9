"""Wheels to layers: a change stays where it happened."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runbake.environment.groups import ALONE_BYTES, BUCKETS, WheelGroup, plan_wheel_groups, recipe_of
from runbake.environment.lock import Lock, LockedWheel
from tests.unit.samples import a_lock

names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
wheels = st.builds(
    lambda name, size: LockedWheel(
        name=name, version="1", file_name=f"{name}-1-py3-none-any.whl", sha256="0" * 64, size_bytes=size
    ),
    names,
    st.integers(min_value=0, max_value=2 * ALONE_BYTES),
)
locks = st.lists(wheels, max_size=40, unique_by=lambda wheel: wheel.name).map(
    lambda found: Lock(
        key="k",
        platform="linux/amd64",
        python="3.11",
        uv_platform="x86_64-manylinux_2_36",
        model_requirements=("a",),
        runtime_requirements=("b",),
        model_as_of="",
        runtime_as_of="2026-01-01T00:00:00Z",
        wheels=tuple(sorted(found, key=lambda wheel: wheel.name)),
    )
)


@given(locks)
def test_every_wheel_is_in_exactly_one_group(lock: Lock) -> None:
    """The groups are a partition of the lock: no group is empty, big wheels are alone, buckets are eight."""
    groups = plan_wheel_groups(lock)
    assert sorted((w for g in groups for w in g.wheels), key=lambda w: w.name) == list(lock.wheels)
    assert all(group.wheels for group in groups)
    assert all(len(g.wheels) == 1 for g in groups if any(w.size_bytes >= ALONE_BYTES for w in g.wheels))
    assert len([g for g in groups if g.name.startswith("wheels-")]) <= BUCKETS


@given(locks, st.data())
def test_a_bumped_wheel_moves_its_own_group_only(lock: Lock, data: st.DataObject) -> None:
    """A new version of one small wheel leaves every other group's recipe as it was."""
    small = [wheel for wheel in lock.wheels if wheel.size_bytes < ALONE_BYTES]
    assume(small)
    chosen = data.draw(st.sampled_from(small))
    bumped = replace(chosen, version="2", sha256="1" * 64)
    after = replace(lock, wheels=tuple(bumped if w is chosen else w for w in lock.wheels))
    old, new = _recipes(plan_wheel_groups(lock)), _recipes(plan_wheel_groups(after))
    assert old.keys() == new.keys()
    (moved,) = [name for name in old if old[name] != new[name]]
    assert moved == next(g.name for g in plan_wheel_groups(lock) if chosen in g.wheels)


@given(locks)
def test_a_lock_survives_json(lock: Lock) -> None:
    """`Lock.from_json(l.to_json()) == l`."""
    assert Lock.from_json(lock.to_json()) == lock


def test_buckets_are_where_they_were() -> None:
    """A package's bucket is fixed for good: moving it would send every small layer again."""
    small = [
        LockedWheel(name=n, version="1", file_name=f"{n}-1-py3-none-any.whl", sha256="0" * 64, size_bytes=1)
        for n in ("anyio", "fastapi", "six", "uvicorn")
    ]
    lock = Lock(
        key="k",
        platform="linux/amd64",
        python="3.11",
        uv_platform="x86_64-manylinux_2_36",
        model_requirements=(),
        runtime_requirements=(),
        model_as_of="",
        runtime_as_of="",
        wheels=tuple(small),
    )
    assert {w.name: g.name for g in plan_wheel_groups(lock) for w in g.wheels} == EXPECTED_BUCKETS


EXPECTED_BUCKETS = {"anyio": "wheels-0", "fastapi": "wheels-2", "six": "wheels-4", "uvicorn": "wheels-2"}


def test_interpreter_and_bytecode_are_part_of_a_recipe() -> None:
    """A layer made for another interpreter, or with other bytecode, is another layer."""
    wheel = LockedWheel(name="six", version="1", file_name="six-1.whl", sha256="0" * 64, size_bytes=1)
    group = WheelGroup(name="wheels-0", wheels=(wheel,))
    recipes = {
        recipe_of(group, interpreter="/usr/bin/python3.11", bytecode=""),
        recipe_of(group, interpreter="/usr/bin/python3.12", bytecode=""),
        recipe_of(group, interpreter="/usr/bin/python3.11", bytecode="x"),
    }
    assert len(recipes) == 3


def _recipes(groups: tuple[WheelGroup, ...]) -> dict[str, str]:
    return {group.name: recipe_of(group, interpreter="/p", bytecode="") for group in groups}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x\n--index-url http://h.example"),
        ("name", "-r/etc/passwd"),
        ("version", "1 ; import os"),
        ("version", 1),
        ("fileName", "../x-1-py3-none-any.whl"),
        ("sha256", "0" * 63),
        ("size", "many"),
        ("size", None),
        ("size", float("inf")),
    ],
)
def test_a_lock_that_strangers_wrote_cannot_carry_options(field: str, value: object) -> None:
    """A wheel's words go into a file of requirements: anything but a name, version and hash is refused."""
    document = json.loads(a_lock().to_json())
    document["wheels"][0][field] = value
    with pytest.raises(ValueError, match=r"wheel|not a lock|invalid literal"):
        Lock.from_json(json.dumps(document))
