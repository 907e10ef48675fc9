"""`runbake batch`: a job in the real container, and what its output tells."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sklearn.datasets import load_wine

from tests.e2e.world import World, log_wine

OPTIONS = ("--output-format", "csv", "--keep", "id")


@pytest.fixture
def wines(tmp_path: Path) -> Path:
    """All wines with their numbers, as csv."""
    frame = load_wine(as_frame=True).data
    path = tmp_path / "wines.csv"
    frame.assign(id=range(len(frame))).to_csv(path, index=False)
    return path


def test_a_run_scores_a_file(world: World, wines: Path) -> None:
    """By the run's image, without a network; the output belongs to nobody privileged, and tells the run."""
    # A run of its own: of a run that others build too, the latest image may be in a registry that is gone.
    run = log_wine(world.mlflow_uri, c=0.2)
    build = ("containerize", run, "--repository", f"{world.registry}/own", "--no-prove", "--allow-unproven")
    image = world.done(*build).out.strip()
    output = wines.parent / "scores"
    job = ("--input", str(wines), "--output", str(output), *OPTIONS)
    said = world.done("batch", "run", run, *job)

    assert said.out.strip() == f"{output}/_MANIFEST.json"
    with (output / "part-00000.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(178))
    assert (output / "part-00000.csv").stat().st_uid == 10001
    shown = world.done("batch", "show", str(output)).out
    assert "178 in, 178 out, 0 rejected" in shown
    assert run in shown
    assert image.partition("@")[2] in shown
    world.done("batch", "show", str(output), "--html", str(wines.parent / "page.html"))
    assert "<h2>prediction</h2>" in (wines.parent / "page.html").read_text()
    traced = world.done("trace", str(output), "--html", str(wines.parent / "trace.html")).out
    assert f"batch       {output}, 178 rows in, 178 out\n" in traced
    assert f"{output}\n" in world.done("trace", run).out
    for told in (traced, (wines.parent / "trace.html").read_text()):
        assert run in told
        assert "C=0.2" in told or "<bdi>0.2</bdi>" in told


def test_the_status_is_the_job_s(world: World, wine_image: str, wines: Path) -> None:
    """A row that cannot be read is 74, with what to try; accepted it is 73, and shown with its reason."""
    with wines.open("a") as file:
        file.write("no number" + "," * 13 + "178\n")
    output = wines.parent / "scores"
    job = ("batch", "run", wine_image, "--input", str(wines), "--output", str(output), *OPTIONS)

    failed = world.run(*job)
    assert failed.status == 74, failed.err
    assert "--max-rejects" in failed.err
    accepted = world.run(*job, "--max-rejects", "1")
    assert accepted.status == 73, accepted.err
    shown = world.done("batch", "show", str(output)).out
    assert "178 out, 1 rejected" in shown
    assert "rejected    1  alcohol: column 'alcohol' cannot be read as" in shown
