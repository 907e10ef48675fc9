"""The order of effects: no tag, no file and no record of anything that is not proved."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from runbake.base import Base, Host, PythonFacts
from runbake.environment import Uv
from runbake.errors import EngineMissing, ProofFailed, TagExists, Unproven
from runbake.flavors import Served
from runbake.image import Blob, Digest
from runbake.registry import ImageRef, Registry
from runbake.release import Doors, Plan, PlatformPlan, Prover, Request, Subject, carry_out
from runbake.release.base_name import BaseName
from runbake.render import write_context
from runbake.runtime import Proof
from runbake.store import Store
from runbake.tracking import FetchedFile, RunRef, Tracking
from tests.unit.samples import RUN_ID, a_lock, a_model, a_run

TAGS = ("v1", "latest")


class Effects:
    """Every door at once: it writes down what is done to the outside, in order."""

    def __init__(self, *, proof: Callable[[], None] = lambda: None, taken_after_proof: bool = False) -> None:
        self.done: list[str] = []
        self.warnings: list[str] = []
        self.platform = "linux/amd64"
        self._proof, self._taken_after_proof = proof, taken_after_proof

    # the registry
    def resolve(self, name: str, reference: str) -> Digest | None:
        return Digest.of(b"another") if self._taken_after_proof and "prove" in self.done else None

    def push_blob(self, name: str, blob: Blob, **_: object) -> str:
        self.done.append("blob")
        return "uploaded"

    def push_manifest(self, name: str, reference: str, body: bytes, media_type: str) -> None:
        self.done.append("manifest" if reference.startswith("sha256:") else f"tag {reference}")

    # the engine's prover
    @property
    def engine(self) -> Effects:
        return self

    def prove(self, subject: Subject) -> Proof:
        self.done.append("prove")
        self._proof()
        return Proof(platform=subject.platform, image="i", kind="example", reference="m", ready_s=1.0)

    # MLflow
    def record_image(self, run_id: str, tags: dict[str, str]) -> None:
        self.done.append("record")

    # the terminal
    @contextmanager
    def step(self, name: str) -> Iterator[Effects]:
        yield self

    def say(self, text: str) -> None:
        """Nobody reads it."""

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Nobody reads it."""

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def a_plan(directory: Path, **changes: Any) -> Plan:
    """A plan for an image of the runtime and a small model; any part of the request can be changed."""
    (directory / "model").mkdir()
    (directory / "model" / "model.skops").write_bytes(b"abc")
    digest = Digest.of(b"base")
    base = Base(
        asked="h.x/base",
        name="base",
        digest=digest,
        index_digest=None,
        platform="linux/amd64",
        media_type="application/vnd.oci.image.manifest.v1+json",
        config=b"{}",
        layers=(),
        facts=PythonFacts(
            python_path="/usr/bin/python3.11",
            python_version="3.11.2",
            glibc="2.36",
            os_id="debian",
            os_version="12",
        ),
    )
    fields: dict[str, Any] = {
        "run": RunRef.parse(RUN_ID),
        "model_name": "",
        "base": BaseName("h.x/base"),
        "platforms": ("linux/amd64",),
        "repository": ImageRef.parse("h.x/wine"),
        "tags": TAGS,
        "layout": None,
        "archive": None,
        "image_format": "oci",
        "model_layer": "auto",
        "bytecode": False,
        "whole_wheels": False,
        "additions": (),
        "prove": True,
        "allow_unpromoted": False,
        "allow_unproven": False,
        "move_tag": False,
        "relock": False,
        "lock_date": "",
        "created": "",
    }
    file = FetchedFile(path="model.skops", size_bytes=3, sha256=Digest.of(b"abc").hex)
    return Plan(
        request=Request(**{**fields, **changes}),
        run=a_run(),
        model=a_model(directory / "model", files=(file,)),
        model_packed=None,
        served=Served(flavor="sklearn", requirements=()),
        base=ImageRef.parse("h.x/base"),
        platforms=(PlatformPlan(base=base, lock=a_lock(), groups=(), stored=True),),
        created="2026-01-02T03:04:05Z",
    )


def doors_to(effects: Effects, directory: Path) -> Doors:
    """Doors that lead to `effects`, with a real store."""
    return Doors(
        tracking=cast(Tracking, effects),
        registry=lambda _: cast(Registry, effects),
        prover=lambda: cast(Prover, effects),
        uv=Uv(executable=Path("uv"), python=Path("python"), environment=()),
        store=Store(directory / "store"),
        host=Host(system="Linux", machine="x86_64", search_path=""),
        story=effects,
    )


def test_blobs_then_manifest_then_proof_and_only_then_tags(tmp_path: Path) -> None:
    """The story that the module tells, as the outside sees it."""
    effects = Effects()
    release = carry_out(a_plan(tmp_path), doors_to(effects, tmp_path))

    after_blobs = [effect for effect in effects.done if effect != "blob"]
    assert after_blobs == ["manifest", "prove", "tag v1", "tag latest", "record"]
    assert effects.done[: len(effects.done) - len(after_blobs)] == ["blob"] * 4  # ours, and the configuration
    assert release.tags == ("h.x/wine:v1", "h.x/wine:latest")
    assert [proof.kind for proof in release.proofs] == ["example"]


def _fail() -> None:
    raise ProofFailed("it answers otherwise")


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("proof", "error"), [(_fail, ProofFailed), (_interrupt, KeyboardInterrupt)])
def test_what_is_not_proved_has_no_tag_and_no_file(
    tmp_path: Path, proof: Callable[[], None], error: type[BaseException]
) -> None:
    """A failed proof, and one that is interrupted: the last effect is the manifest by digest."""
    effects = Effects(proof=proof)
    outputs = tmp_path / "outputs"
    plan = a_plan(tmp_path, layout=outputs / "layout", archive=outputs / "image.tar")

    with pytest.raises(error):
        carry_out(plan, doors_to(effects, tmp_path))
    assert effects.done[-2:] == ["manifest", "prove"]
    assert list(outputs.iterdir()) == []


def test_files_have_their_names_after_the_proof(tmp_path: Path) -> None:
    """While the proof runs there is nothing under the names that were asked for; afterwards there is."""
    outputs = (tmp_path / "layout", tmp_path / "image.tar")
    seen: list[Path] = []
    effects = Effects(proof=lambda: seen.extend(path for path in outputs if path.exists()))
    plan = a_plan(tmp_path, repository=None, layout=outputs[0], archive=outputs[1])
    release = carry_out(plan, doors_to(effects, tmp_path))

    assert effects.done == ["prove"]
    assert seen == []
    assert all(path.exists() for path in outputs)
    assert (release.transfer, release.tags) == (None, ())


@pytest.mark.parametrize("repository", [ImageRef.parse("h.x/wine"), None], ids=["pushed", "files alone"])
@pytest.mark.parametrize("name", ["layout", "image.tar"])
def test_a_damaged_layer_of_the_cache_is_made_again_before_it_is_an_output(
    tmp_path: Path, name: str, repository: ImageRef | None
) -> None:
    """A flipped bit in every blob of the cache, sizes kept: told, healed, and in no file."""
    effects, target = Effects(), tmp_path / name
    plan = a_plan(tmp_path, repository=repository, **{"archive" if "." in name else "layout": target})
    first = carry_out(plan, doors_to(effects, tmp_path))
    whole = sorted(blob.stat().st_size for blob in _blobs(target, tmp_path / "first"))
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    for blob in (tmp_path / "store" / "blobs" / "sha256").iterdir():
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    again = carry_out(plan, doors_to(effects, tmp_path))

    assert again.reference == first.reference
    assert effects.warnings == ["1 layers in the cache are damaged, and are made again"]
    blobs = _blobs(target, tmp_path / "again")
    assert sorted(blob.stat().st_size for blob in blobs) == whole
    assert [Digest.of(blob.read_bytes()).hex for blob in blobs] == [blob.name for blob in blobs]


def _blobs(output: Path, directory: Path) -> list[Path]:
    if output.is_file():
        with tarfile.open(output) as archive:
            archive.extractall(directory, filter="data")
        output = directory
    return sorted((output / "blobs" / "sha256").iterdir())


def test_labels_of_the_base_do_not_pass_for_the_runs(tmp_path: Path) -> None:
    """What the base says of its own source and run is dropped, or emptied in a Dockerfile; the rest stays."""
    stale = {"org.opencontainers.image.vendor": "them", "dev.runbake.stale": "x"}
    config = {"config": {"Labels": {**stale, "org.opencontainers.image.title": "base", "team": "blue"}}}
    plan, doors = a_plan(tmp_path), doors_to(Effects(), tmp_path)
    (platform,) = plan.platforms
    base = replace(platform.base, config=json.dumps(config).encode())
    plan = replace(plan, platforms=(replace(platform, base=base),))
    (made,) = carry_out(plan, doors).assembled.image.platforms
    with made.config.open() as stream:
        labels = json.load(stream)["config"]["Labels"]
    write_context(plan, tmp_path / "context", doors)
    text = (tmp_path / "context" / "Dockerfile").read_text()

    assert labels["team"] == "blue"
    assert labels["org.opencontainers.image.title"] not in ("", "base")
    assert stale.keys() & labels.keys() == set()
    assert [f'"{name}"=""' in text for name in stale] == [True, True]
    assert f'"org.opencontainers.image.title"="{labels["org.opencontainers.image.title"]}"' in text


def test_a_tag_that_was_taken_while_it_was_proved_is_not_moved(tmp_path: Path) -> None:
    """Another build was faster: its tag stays, and the run is told nothing."""
    effects = Effects(taken_after_proof=True)

    with pytest.raises(TagExists):
        carry_out(a_plan(tmp_path), doors_to(effects, tmp_path))
    assert effects.done[-1] == "prove"


def _without_engine(effects: Effects, directory: Path) -> Doors:
    def missing() -> Prover:
        raise EngineMissing("no container engine answers")

    return replace(doors_to(effects, directory), prover=missing)


@pytest.mark.parametrize("cause", ["no engine", "other platform"])
def test_what_cannot_be_proved_here_is_not_tagged(tmp_path: Path, cause: str) -> None:
    """Unless that was allowed; then the warning names the platform."""
    refused, allowed = Effects(), Effects()
    for effects in (refused, allowed):
        effects.platform = "linux/arm64" if cause == "other platform" else effects.platform
    open_doors = _without_engine if cause == "no engine" else doors_to

    def build(effects: Effects, name: str, **changes: Any) -> None:
        (tmp_path / name).mkdir()
        carry_out(a_plan(tmp_path / name, **changes), open_doors(effects, tmp_path / name))

    with pytest.raises(Unproven, match="linux/amd64") as caught:
        build(refused, "refused")
    build(allowed, "allowed", allow_unproven=True)

    assert "--allow-unproven" in caught.value.hint
    assert refused.done[-1] == "manifest"
    assert allowed.done[-3:] == ["tag v1", "tag latest", "record"]
    assert allowed.warnings == [
        warning for warning in allowed.warnings if "linux/amd64 is unproven" in warning
    ]
    assert len(allowed.warnings) == 1
