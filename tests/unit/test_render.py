"""The rendered Dockerfile: hostile values stay values."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.image import Runtime
from runbake.provenance import label
from runbake.render import dockerfile, quoted, template_text
from tests.unit.samples import HOSTILE

RUNTIME = Runtime(
    entrypoint=("/usr/bin/python3.11", "-m", "runbake_serving"),
    command=("serve",),
    env=(("PYTHONPATH", "/a:/b"),),
    user="10001:10001",
    port=8080,
)


def test_one_instruction_a_line_whatever_the_labels_hold() -> None:
    """No label breaks out of its LABEL instruction."""
    text = dockerfile(base="h/b@sha256:0", layers=["a", "b"], runtime=RUNTIME, labels=[("k", label(HOSTILE))])

    words = [line.split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
    instructions = "FROM COPY COPY ENV LABEL USER EXPOSE WORKDIR STOPSIGNAL ENTRYPOINT CMD"
    assert " ".join(words) == instructions
    assert 'ENTRYPOINT ["/usr/bin/python3.11", "-m", "runbake_serving"]' in text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"))))
def test_quoting_round_trips(value: str) -> None:
    """A shell-like reader gets the value back; a dollar is always escaped."""
    (word,) = shlex.split(quoted(value).replace("\\$", "$"), posix=True)

    assert word == value


@pytest.mark.parametrize("value", ["$HOME", "${HOME}", "a$b"])
def test_docker_does_not_see_a_variable(value: str) -> None:
    """Docker replaces $NAME in LABEL and ENV, unless a backslash stands before it."""
    assert quoted(value) == f'"{value}"'.replace("$", "\\$")


def test_the_template_is_found() -> None:
    """From a checkout and from a wheel alike."""
    assert template_text().startswith("# Written by")
