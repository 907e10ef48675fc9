"""The chain as one HTML file that loads and runs nothing: for a mail, a GoCD tab, an auditor."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jinja2

from runbake.errors import TraceError
from runbake.provenance import parse_label_file
from runbake.trace.chain import Chain

_TEMPLATE = "page.html.j2"
_STYLE = "page.css"
_URL = re.compile(r"https?://[^\s\"'<>]+")
_TABLES = ("params", "metrics")
"""Stops that have a table of their own below the chain."""


def page_of(chain: Chain, *, title: str) -> str:
    """The page of a chain; every value in it is escaped, only http and https become links.

    Raises:
        TraceError: the label file has another shape than its schema.

    Source: W3C Content Security Policy Level 3, `style-src` with a hash.
    """
    here = files("runbake.trace")
    # The hash is of the very text between the tags, and a template loses the newline at its end.
    style = (here / _STYLE).read_text(encoding="utf-8").strip()
    sources = {_STYLE: style, _TEMPLATE: (here / _TEMPLATE).read_text(encoding="utf-8")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), undefined=jinja2.StrictUndefined, autoescape=True
    )
    document: dict[str, Any] = parse_label_file(chain.body) if chain.body else (chain.facts or {})
    try:
        tables = list(_tables(document))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # A label file that nobody signed may hold anything under these keys.
        raise TraceError(f"{title}: its label file is none of runbake's: {error!r}"[:500]) from error
    return environment.get_template(_TEMPLATE).render(
        title=title,
        missed=chain.missed,
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        stops=[(link.stop, list(_pieces(link.text))) for link in chain.links if link.stop not in _TABLES],
        tables=tables,
    )


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a link."""
    at = 0
    for found in _URL.finditer(text):
        yield text[at : found.start()], False
        yield found[0], True
        at = found.end()
    yield text[at:], False


def _tables(document: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    run = document.get("run", {})
    yield "Parameters", [(name, str(value)) for name, value in run.get("parameters", {}).items()]
    metrics = run.get("metrics", {})
    yield "Metrics", [(name, str(metric["value"])) for name, metric in metrics.items()]
    for data in document.get("data", ()):
        told = {key: data.get(key) for key in ("context", "sourceType", "source", "schema", "profile")}
        told["digest"] = data["mlflowDigest"]["value"]
        yield f"Data: {data['name']}", [(name, str(value)) for name, value in told.items() if value]
    model = document.get("model", {})
    kept = model.get("files", ())
    yield "Model files", [(one["path"], f"sha256:{one['sha256']}, {one['size']:,} bytes") for one in kept]
    wheels = document.get("environment", {}).get("lock", {}).get("wheels", ())
    yield "Wheels", [(one.get("name", ""), one.get("version", "")) for one in wheels]
