"""A real uv, a wheelhouse of our own, and a small root file system around the running Python."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runbake.environment import Uv, find_uv

MakeWheel = Callable[[str, dict[str, bytes]], str]


@pytest.fixture(scope="session")
def uv() -> Uv:
    """uv with this user's own settings."""
    return find_uv(os.environ)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """An empty directory for wheels."""
    directory = tmp_path / "wheelhouse"
    directory.mkdir()
    return directory


@pytest.fixture
def make_wheel(wheelhouse: Path) -> MakeWheel:
    """Put a pure wheel, version 1.0, into the wheelhouse; gives its sha256."""

    def make(name: str, files: dict[str, bytes]) -> str:
        info = f"{name}-1.0.dist-info"
        files = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        rows = [f"{path},{_hashed(data)},{len(data)}\n" for path, data in files.items()]
        target = wheelhouse / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(target, "w") as archive:
            for path, data in files.items():
                archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data)
            record = "".join(rows) + f"{info}/RECORD,,\n"
            archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2020, 1, 1, 0, 0, 0)), record)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    return make


def _hashed(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
