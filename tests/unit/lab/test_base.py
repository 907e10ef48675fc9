"""Choosing and naming the base image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.base import tag_of
from runbake.runtime import source_for

ROOT = Path(__file__).parents[3]


def test_the_tag_follows_recipe_and_source() -> None:
    """A change of Dockerfile.base or of its source image builds anew; nothing else does."""
    tag = tag_of(b"FROM x", "sha256:1")
    assert re.fullmatch("[0-9a-f]{12}", tag)
    assert tag == tag_of(b"FROM x", "sha256:1")
    assert len({tag, tag_of(b"FROM y", "sha256:1"), tag_of(b"FROM x", "sha256:2")}) == 3


@pytest.mark.parametrize(
    ("minor", "image"),
    [("3.11", "debian:bookworm-slim"), ("3.12", "python:3.12-slim"), ("3.13", "python:3.13-slim")],
)
def test_the_source_has_this_python(minor: str, image: str) -> None:
    """A base starts from what has the wanted Python."""
    assert source_for(minor) == image


def test_the_recipe_fits_every_builder() -> None:
    """Dockerfile.base needs no BuildKit, names a default base, and ends non-root in one layer."""
    text = (ROOT / "Dockerfile.base").read_text()
    last_stage = text.rpartition("\nFROM ")[2]
    assert "--mount" not in text
    assert "<<" not in text
    assert text.partition("ARG BASE=")[2].startswith("debian:bookworm-slim\n")
    assert last_stage.startswith("scratch\nCOPY --from=build / /\n")
    assert last_stage.count("COPY") + last_stage.count("RUN") == 1
    assert "\nUSER 10001:10001\n" in last_stage
