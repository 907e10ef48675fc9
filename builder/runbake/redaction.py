"""Secrets in text that came from MLflow are replaced before the text reaches a file, a label or a page.

A secret is found by the name it stands under, by its shape, or as the credentials or the signature of a URL.
"""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"(?:^|[_\-. ])(?:passw(?:or)?d|passphrase|secret|token|credentials?|api[_\-]?key|access[_\-]?key"
    r"|private[_\-]?key|bearer|authorization)(?:$|[_\-. ])",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Repetitions are bounded: the text is hostile, and an unbounded one takes quadratic time on it.
_URL_CREDENTIALS = re.compile(
    r"(?<![A-Za-z0-9+.\-])(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{0,30}://)[^/\s@\"']{1,4096}@"
)
# What is replaced already stays: text may come here twice. A backslash ends it, as in JSON within JSON.
_SIGNATURES = re.compile(
    r"\b(?P<name>X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|X-Goog-Signature|X-Goog-Credential"
    r"|Signature|sig)=(?!\[redacted )[^&\s\"'\\]+",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"""
      \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                  # AWS access key id
    | \bgh[pousr]_[A-Za-z0-9]{30,}\b                                 # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{30,}\b
    | \bglpat-[A-Za-z0-9_\-]{20,}                                    # GitLab
    | \bxox[abprs]-[A-Za-z0-9\-]{10,}                                # Slack
    | \bpypi-[A-Za-z0-9_\-]{40,}
    | \bdapi[0-9a-f]{32}\b                                           # Databricks
    | \bsk-[A-Za-z0-9_\-]{20,}                                       # OpenAI and others
    | \beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+  # JSON web token
    | -----BEGIN[ A-Z]{0,40}PRIVATE\ KEY-----[\s\S]*?(?:-----END[ A-Z]{0,40}PRIVATE\ KEY-----|$)
    """,
    re.VERBOSE,
)

MARKER = "[redacted by runbake]"


def redacted(text: str, *, name: str = "") -> str:
    """The text with every secret in it replaced by `MARKER`; all of it when `name` says that it is one."""
    if text and name and _SECRET_NAME.search(_CAMEL.sub("_", name)):
        return MARKER
    text = _URL_CREDENTIALS.sub(rf"\g<scheme>{MARKER}@", text)
    return _SHAPES.sub(MARKER, _SIGNATURES.sub(rf"\g<name>={MARKER}", text))


def cut(text: str, limit: int) -> str:
    """The text, or its first `limit` characters and a note of how many were cut."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}[cut by runbake: {len(text) - limit} more characters]"
