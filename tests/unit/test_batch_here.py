"""A batch job on this machine: what it mounts, and what is told of its output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runbake.batch import Mount, needs_of, read_output
from runbake.cli.batch import check_followed, check_run
from runbake.errors import ConfigError, TraceError
from runbake.image import Digest
from runbake.published import Published
from runbake.registry import ImageRef
from runbake_serving.contract import BATCH_MANIFEST, BATCH_MANIFEST_SCHEMA, BATCH_PLAN, BATCH_PLAN_SCHEMA


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "day=1" / "rows.csv"
    path.parent.mkdir(parents=True)
    path.write_text("a\n1\n")
    return path


def test_local_paths_are_mounted_where_they_are(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative ones become absolute; of a glob the directory above it; only the output can be written."""
    monkeypatch.chdir(tmp_path)
    needs = needs_of(("in/day=1/rows.csv", "in/day=*/"), "out", None, ("--keep", "*"))

    inputs = ("--input", str(rows), "--input", f"{tmp_path}/in/day=*")
    assert needs.arguments == (*inputs, "--output", f"{tmp_path}/out", "--keep", "*")
    assert needs.mounts == (
        Mount(path=str(rows)),
        Mount(path=f"{tmp_path}/in"),
        Mount(path=f"{tmp_path}/out", writable=True),
    )
    assert (needs.output, needs.remote) == (f"{tmp_path}/out", False)


def test_a_spec_names_paths_too(rows: Path, tmp_path: Path) -> None:
    """What the command line says wins over it, as in the image."""
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps({"input": {"uris": [str(rows)]}, "output": {"uri": "s3://bucket/out"}}))

    needs = needs_of((), None, spec, ())
    assert needs.mounts == (Mount(path=str(rows)), Mount(path=str(spec)))
    assert (needs.output, needs.remote) == ("", True)
    assert needs_of((), str(tmp_path / "here"), spec, ()).output == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (("absent.csv",), "out", "there is no input at"),
        ((), None, "the job has no output"),
        ((), "/usr/share/out", "cannot be mounted into the container"),
        ((), "/", "cannot be mounted into the container"),
    ],
)
def test_what_cannot_be_mounted_is_named(inputs: tuple[str, ...], output: str | None, said: str) -> None:
    """Before any container is made."""
    with pytest.raises(ConfigError, match=said):
        needs_of(inputs, output, None, ())


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[1]"])
def test_a_spec_that_is_none(text: bytes, tmp_path: Path) -> None:
    """It is said of the file, or that nothing in it names an output."""
    spec = tmp_path / "job.json"
    spec.write_bytes(text)
    with pytest.raises(ConfigError, match=r"is not JSON|has no output"):
        needs_of((), None, spec, ())


def test_an_output_half_done_tells_how_far_it_came(tmp_path: Path) -> None:
    """From the plan and the records."""
    plan = {
        "schema": BATCH_PLAN_SCHEMA,
        "files": [{"uri": "/in/a.csv"}, {"uri": "/in/b.csv"}],
        "parts": [["part-00000", 0, 0, 9, 0, 9], ["part-00001", 1, 0, 9, 0, 9]],
    }
    (tmp_path / BATCH_PLAN).write_text(json.dumps(plan))
    (tmp_path / "_parts").mkdir()
    (tmp_path / "_parts" / "part-00001.json").touch()

    output = read_output(tmp_path)
    assert not output.complete
    assert output.lines[0] == ("state", "incomplete: 1 of 2 parts are there; the same command continues")
    assert output.lines[1] == ("input", "/in/a.csv and 1 more files")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps({"schema": BATCH_MANIFEST_SCHEMA, "rows_in": "many"})]
)
def test_documents_of_somebody_else_are_refused(text: str, tmp_path: Path) -> None:
    """Anybody may have written such a file; none ends in a traceback."""
    with pytest.raises(TraceError, match="is no output of a batch job"):
        read_output(tmp_path)
    (tmp_path / BATCH_MANIFEST).write_text(text)
    with pytest.raises(TraceError, match=r"not JSON|not a document|no batch job wrote"):
        read_output(tmp_path)


DIGEST = Digest("sha256:" + "0" * 64)
THEIRS = ImageRef(host="evil.example.org", name="fraud", digest=DIGEST)
LOCAL = ImageRef(host="127.0.0.1:5000", name="fraud", digest=DIGEST)


@pytest.mark.parametrize(
    ("image", "repository", "remote"),
    [
        (THEIRS, "registry.example.org/fraud", False),
        (THEIRS, "evil.example.org/fraud/of-another", False),
        (THEIRS, None, False),
        (LOCAL, None, True),
    ],
)
def test_a_runs_tag_does_not_choose_what_runs_here(
    image: ImageRef, repository: str | None, remote: bool
) -> None:
    """Anybody who may write to MLflow sets it: not another repository, nor one with our cloud credentials."""
    with pytest.raises(TraceError) as caught:
        check_followed(image, repository, remote=remote)
    assert f"runbake batch run {image}" in caught.value.hint


@pytest.mark.parametrize(
    ("image", "repository", "remote"),
    [(THEIRS, "evil.example.org/fraud", True), (LOCAL, None, False), (LOCAL, "127.0.0.1:5000/fraud", True)],
)
def test_a_runs_tag_is_followed_into_our_own_repository(
    image: ImageRef, repository: str | None, remote: bool
) -> None:
    """Ours is what was configured; without that, this machine's."""
    check_followed(image, repository, remote=remote)


@pytest.mark.parametrize("run", [{"id": "1" * 32}, {}, None, 7])
def test_an_image_of_another_run_is_not_that_runs(run: object) -> None:
    """The tag may name any image; its label file says whose it is."""
    published = Published(
        ref=LOCAL, root=DIGEST, digest=DIGEST, platform="", labels={}, body=b"", label_file={"run": run}
    )
    check_run(published, "")
    check_run(replace(published, label_file={"run": {"id": "0" * 32}}), "0" * 32)
    with pytest.raises(TraceError, match="not of 0000"):
        check_run(published, "0" * 32)
