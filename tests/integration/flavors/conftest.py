"""fastText models, trained once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def fasttext_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that `fasttext_models.py` fills."""
    directory = tmp_path_factory.mktemp("fasttext")
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.flavors.fasttext_models", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory
