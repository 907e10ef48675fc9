"""Links out of the page: only where their text cannot be anything but a link."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from runbake_serving.label.facts import Facts

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HOST = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?")
_PATHS = {"bitbucket.org": "commits"}


def web_address(text: str, schemes: tuple[str, ...] = ("https",)) -> str:
    """This address if it is one of the web with a plain host and no credentials, else nothing."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    plain = parts.scheme in schemes and _HOST.fullmatch(parts.netloc) is not None
    return quote(text, safe=":/?#[]@!$&()*+,;=%~") if plain and text.isprintable() else ""


def commit_link(facts: Facts) -> str:
    """Where the training's commit can be read; the repository alone where its site is not known."""
    repository = web_address(facts.source.get("mlflow.source.git.repoURL", ""))
    commit = facts.source.get("mlflow.source.git.commit", "")
    if not repository or not _COMMIT.fullmatch(commit):
        return repository
    base, host = repository.rstrip("/").removesuffix(".git"), urlsplit(repository).hostname or ""
    if "gitlab" in host:
        return f"{base}/-/commit/{commit}"
    if host in ("github.com", "codeberg.org") or host in _PATHS or "gitea" in host or "github" in host:
        return f"{base}/{_PATHS.get(host, 'commit')}/{commit}"
    return repository


def run_link(facts: Facts, tracking_url: str) -> str:
    """The run's own page on the MLflow server."""
    server = web_address(tracking_url, ("https", "http")).rstrip("/")
    if not server or not facts.run_id or not facts.experiment_id:
        return ""
    return f"{server}/#/experiments/{quote(facts.experiment_id, safe='')}/runs/{quote(facts.run_id, safe='')}"
