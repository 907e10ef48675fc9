"""Packer, for the tests of machine images: Debian's, which is 1.6."""

from __future__ import annotations

PACKAGES = {"packer": "packer"}
