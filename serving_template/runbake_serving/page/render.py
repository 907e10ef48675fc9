"""Templates to pages, and the policy that lets a page run nothing but its own script.

Style and script are in the page, allowed by their digests: nothing else is loaded or run, whatever text from
MLflow a template has put into the page.

Source: Content Security Policy Level 3.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_ASSETS = Path(__file__).parent / "assets"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def page_of(template: str, values: Mapping[str, Any]) -> bytes:
    """The page that this template makes of these values."""
    text = (
        _environment()
        .get_template(template)
        .render(
            **values,
            # Our own files, in which no text from anywhere is put.
            style=Markup(_asset("style.css")),  # noqa: S704
            script=Markup(_asset("form.js")),  # noqa: S704
        )
    )
    return text.encode("utf-8", "replace")


@cache
def headers_of_pages() -> Mapping[str, str]:
    """What a page's answer says to the browser."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {_allowed('style.css')}; script-src {_allowed('form.js')}; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _allowed(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
