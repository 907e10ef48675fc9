"""A browser without a screen, for the tests of pages: Debian's Chromium and its driver."""

from __future__ import annotations

PACKAGES = {"chromium": "chromium", "chromium-driver": "chromedriver"}
