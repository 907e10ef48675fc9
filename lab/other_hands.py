"""Other people's tools that read our images, for tests that ask them."""

from __future__ import annotations

PACKAGES = {"skopeo": "skopeo", "umoci": "umoci", "containerd": "ctr"}
