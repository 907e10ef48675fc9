"""What an output tells as one HTML file that loads nothing: for a mail, a GoCD tab, an archive."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

import jinja2

from runbake.batch.distribution import Distribution
from runbake.batch.shown import Output

_TEMPLATE = "page.html.j2"
_STYLE = "page.css"


def page_of(output: Output, spread: Sequence[Distribution], *, title: str) -> str:
    """The page of a complete output; every value in it is escaped, and a browser fetches and runs nothing.

    Source: W3C Content Security Policy Level 3, `style-src` with a hash.
    """
    here = files("runbake.batch")
    # The hash is of the very text between the tags, and a template loses the newline at its end.
    style = (here / _STYLE).read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    sources = {_STYLE: style, _TEMPLATE: (here / _TEMPLATE).read_text(encoding="utf-8")}
    loader = jinja2.DictLoader(sources)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True)
    rejects = sorted(output.document["reasons"].items(), key=lambda item: (-int(item[1]), item[0]))
    return environment.get_template(_TEMPLATE).render(
        title=title,
        style_digest=digest,
        facts=output.lines,
        spread=spread,
        rejects=rejects,
    )
