"""A stage's document as the HTML that GoCD shows in a tab: one file that loads nothing. Pure.

GoCD shows artifacts on its own origin, with the session of whoever looks, so nothing in them may run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files

import jinja2

from runbake.gocd.invocation import Invocation

MOST_BYTES = 16 << 20
"""Of a document that is shown."""

_DEEPEST = 12
_TEMPLATE = "page.html.j2"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1rem;color:#1b1f24;background:#fff}"
    "table{border-collapse:collapse}a{margin-right:1rem}"
    "th,td{text-align:left;vertical-align:top;padding:.1rem .8rem .1rem 0;overflow-wrap:anywhere}"
    "th{font-weight:500;color:#59636e;white-space:nowrap}"
)


def document_page(body: bytes, *, name: str, job: Invocation | None) -> str:
    """The page of a stage's document; every value in it is escaped, and a browser fetches and runs nothing.

    Args:
        body: the document as its command wrote it; b"" where it wrote none, which the page then says.
        name: the document's file name; the page lies beside it.
        job: what the page leads back to.

    Source: W3C Content Security Policy Level 3, `style-src` with a hash.
    """
    template = (files("runbake.gocd") / _TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    return environment.from_string(template).render(
        title=f"{job.pipeline} {job.label or job.counter}: {job.stage}" if job else name,
        style=_STYLE,
        style_digest=base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode(),
        links=_links(name, job) if body else _links("", job),
        document=_shown(body, name),
    )


def _links(name: str, job: Invocation | None) -> tuple[tuple[str, str], ...]:
    told = [("value stream map", job.value_stream_url), ("job", job.url)] if job else []
    # The page lies beside its document, also in GoCD's store of artifacts.
    told.append((name, f"./{name}" if name else ""))
    return tuple((text, url) for text, url in told if url.startswith(("http://", "https://", "./")))


def _shown(body: bytes, name: str) -> Mapping[str, object]:
    if not body:
        return {"status": "failed", "problem": f"the command ended without writing {name}: see the console"}
    try:
        document = json.loads(body)
        # Deeper than any document of ours is nobody's, and the template descends into it.
        fits = isinstance(document, dict) and _depth(document) <= _DEEPEST
    except (ValueError, RecursionError):
        fits = False
    return document if fits else {"status": "unknown", "problem": f"{name} is no document of runbake"}


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
