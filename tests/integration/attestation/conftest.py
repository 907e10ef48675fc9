"""Keys, and Sigstore's own implementation."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.sigstore_js import ensure_sigstore_js
from tests.integration.attestation.keys import KeyPair, key_pair


@pytest.fixture(scope="session")
def sigstore_js() -> Path:
    """The packages of sigstore-js."""
    return ensure_sigstore_js()


@pytest.fixture(scope="session")
def our_key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The key that is trusted."""
    return key_pair(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session")
def their_key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """Somebody else's key."""
    return key_pair(tmp_path_factory.mktemp("theirs"))
