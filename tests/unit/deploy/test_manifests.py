"""Manifests for other engines: valid by the published schemas, by digest, and hostile text stays text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import botocore.session
import compose_spec
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator

from runbake.deploy import (
    Limits,
    Subject,
    Workload,
    compose_of,
    ecs_of,
    environment_of,
    kubernetes_of,
    workload_of,
)
from runbake_serving import contract
from tests.unit.samples import HOSTILE, RUN_ID

DIGEST = f"sha256:{'a' * 64}"
KUBERNETES = ("1.27", "1.32", kubernetes_validate.latest_version())
# Readers of YAML 1.2 take these for numbers, dates or truths where they stand without quotes.
LIKE_NUMBERS = {"A": "1e3", "B": "0o17", "C": "2026-11-23", "D": "on", "E": "1_000", "F": "~", "G": "0x1f"}


def workload(**changes: Any) -> Workload:
    """A service of an image whose labels are hostile."""
    labels = {
        contract.LABEL_RUN_ID: RUN_ID,
        contract.LABEL_RUN_NAME: HOSTILE,
        contract.LABEL_EXPERIMENT: "x" * 5000,
        contract.LABEL_PYTHON: "3.11.2",
        "org.opencontainers.image.title": HOSTILE,
        "dev.runbake.not a key\n": "x",
        "foreign": "x",
    }
    plain = Workload(
        name="wine",
        subject=Subject(reference=f"registry.example.org/wine@{DIGEST}", digest=DIGEST, labels=labels),
        address="127.0.0.1",
        port=9000,
        environment={**LIKE_NUMBERS, "TEXT": HOSTILE},
        secrets=("TOKEN",),
        stop_s=35,
        limits=Limits(memory_bytes=1 << 30, cpus=1.5),
    )
    return replace(plain, **changes)


def bare(one: Workload) -> Workload:
    """The same without anything that can be left out."""
    subject = replace(one.subject, labels={})
    return replace(one, subject=subject, environment={}, secrets=(), limits=Limits())


def test_compose_is_valid_and_fills_nothing_in() -> None:
    """A reader that we did not write takes it; `$` is doubled, and all text comes back as it was."""
    text = compose_of(workload())
    read = compose_spec.PyCompose.from_yaml(text)
    read.validate()
    service = yaml.safe_load(text)["services"]["wine"]

    assert list(read.services) == ["wine"]
    assert service["image"].endswith(f"@{DIGEST}")
    assert service["environment"]["TOKEN"] is None
    assert {name: service["environment"][name] for name in LIKE_NUMBERS} == LIKE_NUMBERS
    assert service["labels"][contract.LABEL_RUN_NAME].replace("$$", "$") == HOSTILE
    assert "$" not in text.replace("$$", "")
    assert service["ports"][0]["host_ip"] == "127.0.0.1"
    assert (service["read_only"], service["cap_drop"], service["mem_limit"]) == (True, ["ALL"], 1 << 30)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("reduce", [False, True])
def test_kubernetes_is_valid(version: str, reduce: bool) -> None:
    """Deployment and Service fit the schemas of Kubernetes, with and without what is optional."""
    one = bare(workload()) if reduce else workload()
    documents = list(yaml.safe_load_all(kubernetes_of(one)))

    assert [document["kind"] for document in documents] == ["Deployment", "Service"]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_keeps_text_out_of_labels() -> None:
    """Text from MLflow is in annotations only, as it was; variables are not filled in."""
    deployment, service = yaml.safe_load_all(kubernetes_of(workload()))
    pod = deployment["spec"]["template"]
    container = pod["spec"]["containers"][0]
    variables = {entry["name"]: entry for entry in container["env"]}

    assert set(pod["metadata"]["labels"].values()) == {"wine", "runbake", RUN_ID}
    assert pod["metadata"]["annotations"]["runbake.dev/run-name"] == HOSTILE
    assert all(len(key.split("/")[-1]) <= 63 and "\n" not in key for key in pod["metadata"]["annotations"])
    assert variables["TEXT"]["value"] == HOSTILE.replace("$(", "$$(")
    assert variables["TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "wine-env", "key": "TOKEN"}
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["terminationGracePeriodSeconds"] == 35 + 5


@pytest.mark.parametrize("reduce", [False, True])
def test_ecs_is_valid(reduce: bool) -> None:
    """AWS's own description of RegisterTaskDefinition takes every member, and knows no other."""
    task = json.loads(ecs_of(bare(workload()) if reduce else workload()))
    shape = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    problems = ParamValidator().validate(task, shape.input_shape)

    assert not problems.has_errors(), problems.generate_report()
    container = task["containerDefinitions"][0]
    assert set(task) <= set(shape.input_shape.members)
    assert set(container) <= set(shape.input_shape.members["containerDefinitions"].member.members)
    assert container["image"].endswith(f"@{DIGEST}")
    # A parameter's name that holds a slash must begin with one, or there is no such parameter.
    assert [one["valueFrom"] for one in container["secrets"]] == ([] if reduce else ["/wine/TOKEN"])


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        (Limits(), ("512", "1024")),
        (Limits(memory_bytes=160 << 20, cpus=0.1), ("256", "512")),
        (Limits(memory_bytes=3 << 30, cpus=0.25), ("512", "3072")),
        (Limits(memory_bytes=1 << 30, cpus=1.5), ("2048", "4096")),
        (Limits(memory_bytes=500 << 30, cpus=100.0), ("16384", "122880")),
    ],
)
def test_ecs_has_sizes_that_fargate_has(limits: Limits, size: tuple[str, str]) -> None:
    """The smallest that the limits fit into."""
    task = json.loads(ecs_of(workload(limits=limits)))

    assert (task["cpu"], task["memory"]) == size


def test_no_manifest_shows_a_secret() -> None:
    """A variable that was taken from our environment is named, and its value is somewhere else."""
    one = workload(environment={}, secrets=("TOKEN",))
    for text in (compose_of(one), kubernetes_of(one), ecs_of(one)):
        assert "TOKEN" in text


def test_a_hidden_grace_time_counts_and_the_image_is_told_its_digest() -> None:
    """Each engine waits for the drain that a file asked for, not showing the file, and sets the digest."""
    environment, hidden = environment_of(("A=1",), (f"{contract.ENV_GRACE_S}=77\nTOKEN=hunter2\n",), {})
    plain = workload()
    one = workload_of(
        name=plain.name,
        subject=plain.subject,
        address=plain.address,
        port=plain.port,
        environment=environment,
        hidden=hidden,
        limits=plain.limits,
    )
    compose, kubernetes, ecs = compose_of(one), kubernetes_of(one), ecs_of(one)
    service = yaml.safe_load(compose)["services"]["wine"]
    pod = next(yaml.safe_load_all(kubernetes))["spec"]["template"]["spec"]
    (task,) = json.loads(ecs)["containerDefinitions"]

    assert service["stop_grace_period"] == "87s"
    assert (pod["terminationGracePeriodSeconds"], task["stopTimeout"]) == (92, 87)
    assert {"hunter2", "77"}.isdisjoint(service["environment"].values())
    assert "hunter2" not in compose + kubernetes + ecs
    for named in (pod["containers"][0]["env"], task["environment"]):
        shown = {entry["name"]: entry.get("value") for entry in named}
        assert (shown["A"], shown[contract.ENV_IMAGE_DIGEST]) == ("1", DIGEST)
        assert shown.get(contract.ENV_GRACE_S) is None
    assert service["environment"][contract.ENV_IMAGE_DIGEST] == DIGEST
