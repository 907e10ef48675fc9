"""What will be started, with what in its user-data: decided, and refused, before any call. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbake.ami import DONE, TAG_DIGEST, TAG_IMAGE, TAG_STATE, architecture_of
from runbake.aws import MachineImage
from runbake.errors import ConfigError, JobError
from runbake_serving.contract import BATCH_JOB_SCHEMA, LABEL_RUN_ID, VERSION

TAG_JOB = "runbake.job"
"""The job's id, on its machine and disk."""
TAG_LOGS = "runbake.job.logs"
"""Where the machine leaves `container.log` and `_JOB.json`."""
TAG_OUTPUT = "runbake.job.output"

_INSTANCE_JOB = "https://runbake.dev/schema/instance-job/v1"
_USER_DATA_BYTES = 16 << 10
"""Source: Amazon EC2 User Guide, user data: 16 KB, before it is encoded."""
_JOB = re.compile(r"[0-9a-f]{12}")
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", re.DOTALL)
_LOGS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9_.=/@:+-]{1,150}")
"""What a tag of EC2 holds unchanged, as the logs are found by it."""
_SHAPES = {
    "region": r"[a-z]{2}(?:-[a-z]+){1,3}-\d{1,2}",
    "instance_type": r"[a-z][a-z0-9-]*\.[a-z0-9-]+",
    "instance_profile": r"[A-Za-z0-9+=,.@_-]{1,128}",
    "subnet": r"(?:subnet-[0-9a-f]{8,17})?",
}
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """What machine a job gets.

    `spot` asks for a spot machine; where there is none, `on_demand` takes an ordinary one. `groups` are
    security groups, () for the VPC's own; the machine needs no way in. `endpoint` is the URL of another S3,
    "" for AWS's.
    """

    region: str
    instance_type: str
    instance_profile: str
    subnet: str = ""
    groups: tuple[str, ...] = ()
    spot: bool = False
    on_demand: bool = True
    endpoint: str = ""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: lists everything that is wrong.
        """
        wrong = [
            f"--{name.replace('_', '-')} {getattr(self, name)[:60]!r}"
            for name, shape in _SHAPES.items()
            if not re.fullmatch(shape, getattr(self, name))
        ]
        wrong += [f"--security-group {one[:60]!r}" for one in self.groups if not _GROUP.fullmatch(one)]
        if wrong:
            raise ConfigError(
                "no machine can be ordered so: " + "; ".join(f"{one} is not one" for one in wrong)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job on one machine; `job_id` makes it findable.

    `job` is a job of `batch`; `tags` are the AMI's provenance as EC2 takes it, text of MLflow's.
    """

    job_id: str
    machinery: Machinery
    image: MachineImage
    job: Mapping[str, Any]
    logs: str
    time_limit_s: int
    tags: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def output(self) -> str:
        """Where the predictions go."""
        return str(self.job["output"]["uri"])

    @property
    def user_data(self) -> str:
        """What the machine reads, as ASCII."""
        endpoint = {"s3_endpoint": self.machinery.endpoint} if self.machinery.endpoint else {}
        order = {
            "schema": _INSTANCE_JOB,
            "job": self.job,
            "logs": self.logs,
            "time_limit_s": self.time_limit_s,
            **endpoint,
        }
        return json.dumps({"runbake": order}, separators=(",", ":"))

    def request(self, *, spot: bool) -> dict[str, Any]:
        """RunInstances, in boto3's words."""
        machinery = self.machinery
        tags = [{"Key": key, "Value": value} for key, value in self.tags]
        market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
        return {
            "ImageId": self.image.image_id,
            "InstanceType": machinery.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": f"{self.job_id}-{'spot' if spot else 'on-demand'}",
            "UserData": self.user_data,
            "IamInstanceProfile": {"Name": machinery.instance_profile},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
            **({"SubnetId": machinery.subnet} if machinery.subnet else {}),
            **({"SecurityGroupIds": list(machinery.groups)} if machinery.groups else {}),
            **({"InstanceMarketOptions": market} if spot else {}),
        }

    def to_json(self) -> dict[str, object]:
        """The plan as `--dry-run` prints it and the report keeps it."""
        return {
            "tool": {"name": "runbake", "version": VERSION},
            "job": self.job_id,
            "region": self.machinery.region,
            "ami": self.image.image_id,
            "reference": self.image.tags.get(TAG_IMAGE, ""),
            "digest": self.image.tags.get(TAG_DIGEST, ""),
            "run": self.image.tags.get(LABEL_RUN_ID, ""),
            "spec": self.job,
            "output": self.output,
            "logs": self.logs,
            "timeLimitS": self.time_limit_s,
            "userDataBytes": len(self.user_data),
            "tags": dict(self.tags),
        }


def plan_job(
    machinery: Machinery,
    image: MachineImage,
    spec: Mapping[str, Any],
    *,
    job_id: str,
    logs: str,
    time_limit_s: int,
    provenance: tuple[tuple[str, str], ...],
) -> JobPlan:
    """Decide on everything.

    Args:
        spec: a job of `batch` (docs/batch.md); what is wrong inside it, the image says.
        logs: an `s3://` prefix; "" is beside the output.
        provenance: the AMI's tags that go onto the machine, at most 40.

    Raises:
        JobError: AMI, machine and job do not fit each other; all that is wrong is listed.
    """
    if not _JOB.fullmatch(job_id):
        raise ValueError(f"no job id: {job_id!r}")
    output = _output_of(spec)
    logs = (logs or _beside(output)).rstrip("/")
    problems = [*_unfit(machinery, image), *_unreachable(spec, output), *_bad_logs(logs, output)]
    if problems:
        raise JobError(f"the job cannot run on {image.image_id}: {'; '.join(problems)}")
    ours = {
        TAG_JOB: job_id,
        TAG_LOGS: f"{logs}/{job_id}",
        TAG_OUTPUT: re.sub(r"[^A-Za-z0-9_.=/@:+-]", "_", output)[:256],
        "Name": f"runbake-job-{job_id}",
        **{name: image.tags[name] for name in (TAG_IMAGE, TAG_DIGEST) if name in image.tags},
    }
    plan = JobPlan(
        job_id=job_id,
        machinery=machinery,
        image=image,
        job={"schema": BATCH_JOB_SCHEMA, **spec},
        logs=ours[TAG_LOGS],
        time_limit_s=time_limit_s,
        tags=tuple(sorted({**dict(provenance), **ours}.items())),
    )
    if (size := len(plan.user_data)) > _USER_DATA_BYTES:
        raise JobError(
            f"the job takes {size} bytes of user-data, and EC2 takes {_USER_DATA_BYTES}",
            hint="name directories or globs as inputs, not each file",
        )
    return plan


def _unfit(machinery: Machinery, image: MachineImage) -> list[str]:
    found = []
    if image.tags.get(TAG_STATE) != DONE or not image.tags.get(LABEL_RUN_ID):
        found.append("it is no finished AMI of runbake's: its tags do not say so")
    wanted = architecture_of(machinery.instance_type)
    if image.architecture and image.architecture != wanted:
        found.append(f"it is for {image.architecture}, {machinery.instance_type} is {wanted}")
    return found


def _output_of(spec: Mapping[str, Any]) -> str:
    section = spec.get("output")
    uri = section.get("uri") if isinstance(section, Mapping) else None
    return uri if isinstance(uri, str) else ""


def _unreachable(spec: Mapping[str, Any], output: str) -> list[str]:
    section = spec.get("input")
    inputs = section.get("uris") if isinstance(section, Mapping) else None
    if not isinstance(inputs, list) or not inputs:
        return ["it has no --input"]
    found = [f"--input {str(one)[:100]!r} is not on s3://" for one in inputs if not _on_s3(one)]
    if not _on_s3(output):
        found.append(f"--output {output[:100]!r} is not on s3://" if output else "it has no --output")
    return found


def _bad_logs(logs: str, output: str) -> list[str]:
    if not _on_s3(output):
        return []
    if not _LOGS.fullmatch(logs):
        return [f"--logs {logs[:100]!r} is no s3://BUCKET/PREFIX of plain letters, as it becomes a tag"]
    if f"{logs}/".startswith(f"{output.rstrip('/')}/"):
        return ["--logs is inside the output, which belongs to the predictions alone"]
    return []


def _on_s3(uri: object) -> bool:
    return isinstance(uri, str) and _S3.fullmatch(uri) is not None


def _beside(output: str) -> str:
    """`s3://BUCKET/DIRECTORY-logs`."""
    return f"{output.rstrip('/')}-logs"
