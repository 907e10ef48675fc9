"""Text that strangers wrote into a run stays text: in labels, label file, image.json and on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbake.errors import InvalidReference
from runbake.image import Digest
from runbake.provenance import LABEL_LIMIT, VALUE_LIMIT
from runbake_serving import contract
from tests.e2e.refusal import QUICKLY, refused, went_well
from tests.e2e.test_bad_mlflow import THE_RUN, changed
from tests.e2e.world import World
from tests.integration.tracking.faulty_server import Fault, answering, standing_before

LONG = 100_000
NOTE_OF_A_CUT = 60
HIDDEN = ("hunter2", "ghp_" + "a" * 36, "AKIA" + "A" * 16)


def hostile(directory: Path) -> str:
    """Line breaks, quotes, shell, templates, markup, control and bidirectional characters."""
    return (
        f"line\nerror: forged\r\n\"double\" 'single' $(touch {directory}/pwned) `touch {directory}/pwned` "
        "${HOME} {{ env.HOME }} {% raw %} [red]rich[/] <script>alert(1)</script> \\n %s "
        "\x1b[2J\x1b]0;title\x07 \x00 \x7f \x9b31m \u2028 \u202e é 漢"
    )


def poison(document: dict[str, Any], text: str) -> None:
    """Put the text into every field that a stranger may write, and 100 kB and secrets into some."""
    info, data = document["run"]["info"], document["run"]["data"]
    info["run_name"] = info["user_id"] = text
    written = {
        "mlflow.runName": text,
        "mlflow.user": text,
        "mlflow.source.name": text,
        "mlflow.source.git.branch": text,
        "mlflow.source.git.commit": "c" * LONG,
        "mlflow.source.git.repoURL": f"https://bob:{HIDDEN[0]}@git.example.com/{'r' * LONG}",
        "note": text * 100,
    }
    kept = [tag for tag in data.get("tags", []) if tag["key"] not in written]
    data["tags"] = [*kept, *({"key": key, "value": value} for key, value in written.items())]
    data["params"] = [
        *data.get("params", []),
        *({"key": key, "value": value} for key, value in (("hostile", text), ("long", "x" * LONG))),
        {"key": text, "value": "the name is hostile"},
        {"key": "db_password", "value": HIDDEN[0]},
        {"key": "clone", "value": f"token {HIDDEN[1]} and {HIDDEN[2]}"},
    ]


def labels_of(world: World, name: str, digest: str) -> dict[str, str]:
    """The labels of the image as the registry keeps it."""
    client = world.client()
    manifest = json.loads(client.fetch_manifest(name, digest).body)
    config = json.loads(client.read_blob(name, Digest(manifest["config"]["digest"]), 1 << 20))
    labels: dict[str, str] = config["config"]["Labels"]
    return labels


def is_plain(text: str) -> bool:
    """Whether a terminal shows every line of the text, and obeys nothing in it."""
    return all(character.isprintable() for line in text.split("\n") for character in line)


def test_hostile_text_comes_through_as_text(world: World, wine_run: str, tmp_path: Path) -> None:
    """Labels are one short line each, the label file has the text itself, and no secret is anywhere."""
    text = hostile(tmp_path)
    fault = Fault(at=THE_RUN, act=changed(lambda document: poison(document, text)))
    with answering(standing_before(world.mlflow_uri, fault)) as server:
        said = world.done(
            "containerize", wine_run, "--repository", f"{world.registry}/strange", *QUICKLY,
            "--tracking-uri", server.uri,
        )  # fmt: skip
    image, report = said.out.strip(), (world.directory / "image.json").read_text()
    labels = labels_of(world, "strange", image.partition("@")[2])
    told = world.done("trace", image, "--tracking-uri", world.mlflow_uri)
    traced = world.done("trace", image, "--json")
    run = json.loads(traced.out)["provenance"]["run"]

    assert set(labels) >= {
        contract.LABEL_RUN_ID,
        contract.LABEL_RUN_NAME,
        "org.opencontainers.image.revision",
    }
    assert all(value.isprintable() and len(value) <= LABEL_LIMIT + NOTE_OF_A_CUT for value in labels.values())
    assert "$(touch" in labels[contract.LABEL_RUN_NAME]
    assert run["name"] == run["parameters"]["hostile"] == text
    assert run["parameters"][text] == "the name is hostile"
    assert VALUE_LIMIT <= len(run["parameters"]["long"]) <= VALUE_LIMIT + NOTE_OF_A_CUT
    assert json.loads(report)["status"] == "done"
    assert is_plain(said.err)
    assert is_plain(told.out + told.err)
    assert not any(line.startswith("error:") for line in (said.err + told.out).splitlines())
    assert not (tmp_path / "pwned").exists()
    everything = said.err + report + told.out + traced.out + json.dumps(labels)
    assert not [secret for secret in HIDDEN if secret in everything]


def test_hostile_text_changes_no_other_run(world: World, wine_run: str) -> None:
    """After all that, the run itself gives the image that it always gave."""
    first = went_well(world, f"{world.registry}/plain", wine_run)

    assert went_well(world, f"{world.registry}/plain-again", wine_run) == first


@pytest.mark.parametrize(
    "arguments",
    [
        ("--repository", "{host}/name$(touch pwned)"),
        ("--repository", "{host}/../up"),
        ("--repository", "{host}/name", "--tag", "a\nb"),
        ("--repository", "{host}/name", "--tag", "{{{{ x }}}}"),
        ("--repository", "{host}/name", "--base", "{host}/base\x1b[2J"),
    ],
)
def test_a_hostile_name_for_the_image_is_refused(
    world: World, wine_run: str, arguments: tuple[str, ...]
) -> None:
    """Repository, tag and base are names: what is none is refused before anything is read."""
    refused(world, InvalidReference, wine_run, *(each.format(host=world.registry) for each in arguments))
