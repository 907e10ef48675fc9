"""Models of every flavor through the whole path: logged by MLflow, containerized, asked in the container."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from runbake import flavors
from runbake.runtime.compare import differences
from tests.e2e.test_release import served
from tests.e2e.world import ROOT, World

DOCS = ROOT / "docs" / "flavors.md"
BEGIN, END = "<!-- runs: written by tests/e2e/test_flavors.py -->\n", "<!-- end of runs -->\n"
HEAD = (
    "| model | flavor | serialisation | loading it | Python | platform | online | batch |\n|"
    + "---|" * 8
    + "\n"
)
TRUST = ("--trust-type", "sklearn.tree._tree.Tree")
FORMS = {
    "classifier": "skops",
    "cloudpickle": "cloudpickle",
    "pickle": "pickle",
    "probabilities": "skops",
    "tree": "skops",
    "mixed": "skops",
    "texts": "cloudpickle",
    "outputs": "skops",
    "clusters": "skops",
    "xgboost-booster": "ubj",
    "xgboost-classifier": "ubj",
    "lightgbm-booster": "text",
    "lightgbm-regressor": "cloudpickle",
    "catboost": "cbm",
    "python-model": "cloudpickle",
    "from-code": "script",
    "type-hints": "script",
}
"""What `zoo.py` logs, and how each is serialised."""


@pytest.fixture(scope="module")
def zoo(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """A run, a request and MLflow's own answer for every kind of model."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.e2e.zoo",
            world.mlflow_uri,
            str(tmp_path_factory.mktemp("zoo")),
            *FORMS,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def row_of(world: World, name: str, logged: dict[str, str], directory: Path) -> str:
    """One model through the whole path; its line of the table, once the answers are equal."""
    flags = TRUST if name == "tree" else ()
    said = world.done("containerize", logged["run"], *flags, "--repository", f"{world.registry}/zoo-{name}")
    with served(world, said.out.strip()) as url:
        headers = {"Content-Type": "application/json"}
        answer = requests.post(f"{url}/invocations", data=logged["body"], headers=headers, timeout=60)
        model = requests.get(f"{url}/provenance", timeout=30).json()["model"]
    assert answer.status_code == 200, f"{name}: {answer.text}"
    tolerance = flavors.by_name(model["flavor"]).tolerance
    assert not list(differences(json.loads(logged["answer"]), answer.json(), tolerance=tolerance)), name
    offline = offline_answers(world, logged, directory)
    online = [plain(row) for row in answer.json()["predictions"]]
    assert not list(differences(online, offline, tolerance=tolerance)), name
    platform, minor = "linux/amd64", ".".join(model["pythonVersion"].split(".")[:2])
    cells = (name, model["flavor"], FORMS[name], model["format"], minor, platform, "equal", "equal")
    return f"| {' | '.join(cells)} |\n"


def offline_answers(world: World, logged: dict[str, str], directory: Path) -> list[Any]:
    """What a batch job over the request's rows writes: single values where there is one column."""
    document = json.loads(logged["body"])
    rows = document.get("inputs")
    if split := document.get("dataframe_split"):
        rows = [dict(zip(split["columns"], values, strict=True)) for values in split["data"]]
    directory.mkdir()
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = [f"{key}={json.dumps(value)}" for key, value in (document.get("params") or {}).items()]
    world.done(
        "batch", "run", logged["run"],
        "--input", str(directory / "rows.jsonl"),
        "--output", str(directory / "out"), "--output-format", "jsonl",
        *(word for param in params for word in ("--param", param)),
    )  # fmt: skip
    written = (directory / "out" / "part-00000.jsonl").read_text().splitlines()
    return [plain(json.loads(line)) for line in written]


def plain(row: Any) -> Any:
    """A row's values without the names of columns; the value itself where there is one column."""
    values = list(row.values()) if isinstance(row, dict) else row
    return values[0] if isinstance(values, list) and len(values) == 1 else values


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_model_answers_as_mlflow_does(
    world: World, zoo: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """Each container answers as mlflow.pyfunc did where it was logged, online and in batch; see the docs."""
    rows = "".join(row_of(world, name, logged, tmp_path / name) for name, logged in zoo.items())

    write_table(DOCS, rows)
    assert rows.count("| equal | equal |") == len(FORMS)


def write_table(path: Path, rows: str) -> None:
    """Put these lines in the place of those between the markers."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + BEGIN + HEAD + rows + END + after)


@pytest.mark.slow
def test_a_model_that_runs_code_is_refused_where_that_is_not_to_be(
    world: World, zoo: dict[str, dict[str, str]]
) -> None:
    """--require-safe-format lets skops through and refuses a pickle with 27; an untrusted type is 26."""
    push = ("--repository", f"{world.registry}/safe", "--dry-run")
    world.done("containerize", zoo["classifier"]["run"], "--require-safe-format", *push)
    refused = world.run("containerize", zoo["pickle"]["run"], "--require-safe-format", *push)
    assert (refused.status, "serialization_format='skops'" in refused.err) == (27, True), refused.err
    untrusted = world.run("containerize", zoo["tree"]["run"], *push)
    assert (untrusted.status, "--trust-type sklearn.tree._tree.Tree" in untrusted.err) == (26, True)
