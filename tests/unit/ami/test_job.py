"""The script that runs a batch job on the machine: what it takes for a job, and how it signs."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from runbake.ami import static_files

KEYS = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret", "Token": "token/+="}
GOOD: dict[str, Any] = {"schema": "https://runbake.dev/schema/instance-job/v1", "job": {}, "logs": "s3://b/p"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The program, as a module."""
    loader = SourceFileLoader("runbake_job", str(static_files() / "common" / "runbake-job"))
    spec = importlib.util.spec_from_loader("runbake_job", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["/bucket/job/_JOB.json", "/b/a%20b/%C3%A4.log"])
def test_its_signature_is_that_of_amazons_own_library(script: ModuleType, path: str) -> None:
    """The same request, signed by botocore at the same second."""
    url, kind = f"https://s3.eu-central-1.amazonaws.com{path}", {"content-type": "text/plain"}
    theirs = AWSRequest(method="PUT", url=url, data=b"log", headers=dict(kind))
    credentials = Credentials(KEYS["AccessKeyId"], KEYS["SecretAccessKey"], KEYS["Token"])
    S3SigV4Auth(credentials, "s3", "eu-central-1").add_auth(theirs)
    at = datetime.strptime(theirs.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    ours = script.signed(url, b"log", kind, "eu-central-1", KEYS, at)

    assert ours["Authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-security-token"] == KEYS["Token"]


@pytest.mark.parametrize("user_data", [None, "", "#!/bin/sh", "#cloud-config\n{}", "[]", '{"other": {}}'])
def test_other_user_data_is_no_job(script: ModuleType, user_data: str | None) -> None:
    """So that the AMI can be started for anything else."""
    assert script.job_of(user_data) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "v2"}, "schema"),
        ({"comand": "x"}, "comand"),
        ({"job": "batch"}, "job is no object"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"time_limit_s": True}, "time_limit_s"),
    ],
)
def test_a_job_that_cannot_be_run_is_refused(script: ModuleType, change: dict[str, Any], told: str) -> None:
    """With the key that is wrong."""
    found = script.job_of(json.dumps({"runbake": {**GOOD, **change}}))

    with pytest.raises(ValueError, match=told):
        script.check(found)


def test_a_job_has_a_time_limit(script: ModuleType) -> None:
    """A day, where nothing else is said."""
    assert script.check(GOOD)["time_limit_s"] == 86400
