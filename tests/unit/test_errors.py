"""The tree of errors: its drawing is true, its exit codes are distinct."""

from __future__ import annotations

import re

from runbake import errors
from runbake.errors import RunbakeError

RESERVED = {0, 2, 70, 130, 143}


def classes() -> dict[str, type[RunbakeError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, RunbakeError)
    }


def test_exit_codes_are_distinct() -> None:
    """No two errors share a code, and none takes one that the shell or `cli` uses."""
    codes = [error.exit_code for error in classes().values()]

    assert len(codes) == len(set(codes))
    assert not RESERVED & set(codes)


def test_the_drawing_shows_every_class_with_its_code_and_parent() -> None:
    """The tree at the top of errors.py is the tree of the classes."""
    drawn = re.findall(r"^ {4}([│ ├└─]*)(\w+) +(\d+)", errors.__doc__ or "", re.MULTILINE)
    stack: list[str] = []
    found = {}
    for indent, name, code in drawn:
        depth = len(indent) // 4
        stack[depth:] = [name]
        found[name] = (int(code), stack[depth - 1] if depth else "Exception")

    assert found == {
        name: (error.exit_code, error.__bases__[0].__name__) for name, error in classes().items()
    }


def test_every_error_carries_its_hint() -> None:
    """Problem and hint survive in every class."""
    for error in classes().values():
        made = error("what failed", hint="what to try")
        assert (str(made), made.hint) == ("what failed", "what to try")


def test_no_error_leaves_the_user_without_a_hint() -> None:
    """Where a failure says nothing of what to try, its kind does, in one line."""
    for error in classes().values():
        hint = error("what failed").hint
        assert hint
        assert hint.isprintable()
