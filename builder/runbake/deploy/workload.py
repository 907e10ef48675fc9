"""The same service for somebody else's engine: Compose, Kubernetes, ECS. Pure.

Text from MLflow goes into annotations, and into labels only where the format takes any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from runbake.deploy.order import Limits, Subject
from runbake.deploy.service import stop_s
from runbake_serving import contract

_PLAIN = re.compile(r"[A-Za-z][A-Za-z_./-]*")
_KEY = re.compile(r"[a-z0-9][a-z0-9.-]{0,61}[a-z0-9]")
_USER = contract.USER_ID
_START_S = 120
"""A server gets so long to start before it is taken for dead."""
_FARGATE = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
    8192: tuple(range(16384, 61441, 4096)),
    16384: tuple(range(32768, 122881, 8192)),
}
"""Sizes of a task: MiB of memory for each number of CPU units.
Source: Amazon ECS, "Fargate task definition parameters", task size."""
_TMP = "/tmp"  # noqa: S108 -- the container's own
_HEALTH = (
    "import http.client as h,sys;"
    f"c=h.HTTPConnection('127.0.0.1',{contract.PORT},timeout=5);"
    "c.request('GET','/ping');sys.exit(c.getresponse().status!=200)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a manifest describes. `secrets` are names of variables whose values the manifest must not show.

    A server is killed `stop_s` seconds after the word to end.
    """

    name: str
    subject: Subject
    address: str
    port: int
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    stop_s: int
    limits: Limits

    @property
    def variables(self) -> dict[str, str]:
        """What the manifest shows: the variables given, and the image's digest for the answers' headers."""
        return {**self.environment, contract.ENV_IMAGE_DIGEST: self.subject.digest}

    @property
    def python(self) -> str:
        """The image's interpreter, as its PATH finds it."""
        found = re.match(r"3\.[0-9]{1,3}", self.subject.labels.get(contract.LABEL_PYTHON, ""))
        return f"python{found[0] if found else 3}"


def workload_of(
    *,
    name: str,
    subject: Subject,
    address: str,
    port: int,
    environment: Mapping[str, str],
    hidden: Collection[str],
    limits: Limits,
) -> Workload:
    """The service with this whole environment, of which the variables in `hidden` are named only."""
    return Workload(
        name=name,
        subject=subject,
        address=address,
        port=port,
        environment={key: value for key, value in environment.items() if key not in hidden},
        secrets=tuple(sorted(hidden)),
        # A grace time that is hidden counts too: an engine that does not know it kills who still answers.
        stop_s=stop_s(environment),
        limits=limits,
    )


def compose_of(workload: Workload) -> str:
    """A Compose file. Source: compose-spec, 05-services.md; `$` is doubled, as Compose fills in variables."""
    variables: dict[str, str | None] = {key: _dollars(value) for key, value in workload.variables.items()}
    service: dict[str, object] = {
        "image": workload.subject.reference,
        "ports": [
            {
                "target": contract.PORT,
                "published": str(workload.port),
                "host_ip": workload.address,
                "protocol": "tcp",
            }
        ],
        "environment": {**variables, **dict.fromkeys(workload.secrets)},
        "user": f"{_USER}:{_USER}",
        "read_only": True,
        "tmpfs": [f"{_TMP}:size=64m"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": workload.limits.pids,
        **({"mem_limit": workload.limits.memory_bytes} if workload.limits.memory_bytes else {}),
        **({"cpus": workload.limits.cpus} if workload.limits.cpus else {}),
        "restart": "unless-stopped",
        "stop_grace_period": f"{workload.stop_s}s",
        "healthcheck": {
            "test": ["CMD", workload.python, "-c", _HEALTH],
            "interval": "10s",
            "timeout": "6s",
            "retries": 3,
            "start_period": f"{_START_S}s",
        },
        "labels": {key: _dollars(value) for key, value in _provenance(workload).items()},
    }
    return _yaml({"services": {workload.name: service}})


def kubernetes_of(workload: Workload) -> str:
    """A Deployment and its Service. Source: Kubernetes API reference, apps/v1 and core/v1."""
    selector = {"app.kubernetes.io/name": workload.name}
    labels = {
        **selector,
        "app.kubernetes.io/managed-by": "runbake",
        f"{contract.LABEL_NAMESPACE}run-id".replace("dev.runbake.", "runbake.dev/"): _label(
            workload.subject.run_id
        ),
    }
    annotations = {
        key.replace(contract.LABEL_NAMESPACE, "runbake.dev/"): value
        for key, value in _provenance(workload).items()
    }
    metadata = {"name": workload.name, "labels": labels, "annotations": annotations}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            # The new one is ready before the old one is told to end.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": _pod(workload)},
        },
    }
    service: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": workload.port, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    return _yaml(deployment) + "---\n" + _yaml(service)


def _pod(workload: Workload) -> dict[str, Any]:
    ping: dict[str, object] = {"httpGet": {"path": "/ping", "port": "http"}}
    secret = f"{workload.name}-env"
    variables = [{"name": key, "value": _escaped(value)} for key, value in workload.variables.items()]
    hidden = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}} for key in workload.secrets
    ]
    container: dict[str, object] = {
        "name": workload.name,
        "image": workload.subject.reference,
        "ports": [{"name": "http", "containerPort": contract.PORT, "protocol": "TCP"}],
        "env": [*variables, *hidden],
        "resources": _resources(workload.limits),
        "startupProbe": {**ping, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": _START_S},
        "readinessProbe": {**ping, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**ping, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        # A Service goes on sending for a moment after the pod was told to end.
        "lifecycle": {
            "preStop": {"exec": {"command": [workload.python, "-c", "import time; time.sleep(5)"]}}
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": _TMP}],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": workload.stop_s + 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
    }


def _resources(limits: Limits) -> dict[str, Any]:
    memory, cpus = limits.memory_bytes or 512 << 20, limits.cpus or 0.5
    found: dict[str, Any] = {"requests": {"cpu": _cpu(cpus), "memory": str(memory)}}
    most = {"memory": str(limits.memory_bytes)} if limits.memory_bytes else {}
    most |= {"cpu": _cpu(limits.cpus)} if limits.cpus else {}
    return {**found, "limits": most} if most else found


def _cpu(cpus: float) -> str:
    return f"{max(1, round(cpus * 1000))}m"


def ecs_of(workload: Workload) -> str:
    """A task definition for `aws ecs register-task-definition --cli-input-json`, as JSON.

    Values of secrets are read from the Systems Manager parameters /NAME/VARIABLE: a parameter's name that
    holds a slash begins with one.
    """
    cpu, memory = _task_size(workload.limits)
    container: dict[str, object] = {
        "name": workload.name,
        "image": workload.subject.reference,
        "essential": True,
        "portMappings": [{"containerPort": contract.PORT, "protocol": "tcp", "name": "http"}],
        "environment": [{"name": key, "value": value} for key, value in workload.variables.items()],
        "secrets": [{"name": key, "valueFrom": f"/{workload.name}/{key}"} for key in workload.secrets],
        "user": f"{_USER}:{_USER}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": _TMP, "size": 64, "mountOptions": ["rw", "nosuid", "nodev"]}],
        },
        # ECS kills after 120 s at most.
        "stopTimeout": min(120, workload.stop_s),
        "healthCheck": {
            "command": ["CMD", workload.python, "-c", _HEALTH],
            "interval": 10,
            "timeout": 6,
            "retries": 3,
            "startPeriod": _START_S,
        },
        "dockerLabels": _provenance(workload),
    }
    task = {
        "family": workload.name,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["EC2", "FARGATE"],
        "cpu": str(cpu),
        "memory": str(memory),
        "containerDefinitions": [container],
        "tags": [
            {"key": "runbake:run-id", "value": _label(workload.subject.run_id)},
            {"key": "runbake:digest", "value": workload.subject.digest},
        ],
    }
    return json.dumps(task, indent=1) + "\n"


def _task_size(limits: Limits) -> tuple[int, int]:
    """The smallest CPU units and MiB that Fargate has and that the limits fit into, else its largest."""
    cpu, memory = round((limits.cpus or 0.5) * 1024), (limits.memory_bytes >> 20) or 1024
    fits = (
        (units, most)
        for units, sizes in _FARGATE.items()
        for most in sizes
        if units >= cpu and most >= memory
    )
    return next(fits, (16384, 122880))


def _provenance(workload: Workload) -> dict[str, str]:
    """The image's own labels that tell where it comes from, and its digest."""
    ours = {
        key: value
        for key, value in sorted(workload.subject.labels.items())
        if key.startswith((contract.LABEL_NAMESPACE, "org.opencontainers.image.")) and _KEY.fullmatch(key)
    }
    return {**ours, f"{contract.LABEL_NAMESPACE}digest": workload.subject.digest}


def _label(text: str) -> str:
    """The text as a Kubernetes label's value; what does not fit is not cut but left out."""
    return text if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text) else ""


def _dollars(value: str) -> str:
    return value.replace("$", "$$")


def _escaped(value: str) -> str:
    return value.replace("$(", "$$(")


class _Quoting(yaml.SafeDumper):
    """Quotes what another reader could take for a number, a date or a truth: PyYAML knows YAML 1.1 only."""

    def ignore_aliases(self, _: object) -> bool:
        """Write everything out: not every reader knows aliases."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoting.add_representer(str, _text)


def _yaml(document: Mapping[str, object]) -> str:
    return yaml.dump(document, Dumper=_Quoting, sort_keys=False, width=100)
