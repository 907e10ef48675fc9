"""A JSON Schema of ours for GoCD's pipelines in YAML, format version 10, strict about what it knows.

From the README of tomzo/gocd-yaml-config-plugin; what the pipelines here never use (plugin tasks, SCM
plugins, timers, tracking tools) is known by name only.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$"}
_FLAG = {"type": "boolean"}
_VARIABLES = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TEXTS = {"type": "array", "items": _TEXT}


def _closed(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


_RUN_IF = {"enum": ["passed", "failed", "any"]}
_EXEC = {
    "command": _TEXT,
    "arguments": _TEXTS,
    "working_directory": _TEXT,
    "run_if": _RUN_IF,
    "on_cancel": {"$ref": "#/$defs/task"},
}
_FETCH = {
    "pipeline": _TEXT,
    "stage": _NAME,
    "job": _NAME,
    "source": _TEXT,
    "is_file": _FLAG,
    "destination": _TEXT,
    "run_if": _RUN_IF,
    "artifact_origin": {"enum": ["gocd", "external"]},
    "artifact_id": _TEXT,
    "configuration": {"type": "object"},
}
_TASK = {
    "oneOf": [
        _closed({"exec": _closed(_EXEC, "command")}, "exec"),
        _closed({"fetch": _closed(_FETCH, "stage", "job", "source")}, "fetch"),
        _closed({"script": _TEXT}, "script"),
        _closed({"plugin": {"type": "object"}}, "plugin"),
    ]
}
_FILES = _closed({"source": _TEXT, "destination": _TEXT}, "source")
_ARTIFACT = {
    "oneOf": [
        _closed({"build": _FILES}, "build"),
        _closed({"test": _FILES}, "test"),
        _closed(
            {
                "external": _closed(
                    {"id": _TEXT, "store_id": _TEXT, "configuration": {"type": "object"}}, "id"
                )
            },
            "external",
        ),
    ]
}
_JOB = {
    "timeout": {"type": "integer", "minimum": 0},
    "run_instances": {"oneOf": [{"const": "all"}, {"type": "integer", "minimum": 1}]},
    "environment_variables": _VARIABLES,
    "secure_variables": _VARIABLES,
    "resources": _TEXTS,
    "elastic_profile_id": _TEXT,
    "tabs": {"type": "object", "additionalProperties": _TEXT},
    "artifacts": {"type": "array", "items": {"$ref": "#/$defs/artifact"}},
    "tasks": {"type": "array", "items": {"$ref": "#/$defs/task"}, "minItems": 1},
}
_APPROVAL = {
    "oneOf": [
        {"enum": ["manual", "success"]},
        _closed(
            {
                "type": {"enum": ["manual", "success"]},
                "allow_only_on_success": _FLAG,
                "roles": _TEXTS,
                "users": _TEXTS,
            },
            "type",
        ),
    ]
}
_STAGE = {
    "fetch_materials": _FLAG,
    "keep_artifacts": _FLAG,
    "clean_workspace": _FLAG,
    "approval": _APPROVAL,
    "environment_variables": _VARIABLES,
    "secure_variables": _VARIABLES,
    "jobs": {"type": "object", "additionalProperties": _closed(_JOB, "tasks"), "minProperties": 1},
}
_MATERIAL = {
    "oneOf": [
        _closed(
            {
                "git": _TEXT,
                "branch": _TEXT,
                "username": _TEXT,
                "password": _TEXT,
                "encrypted_password": _TEXT,
                "auto_update": _FLAG,
                "shallow_clone": _FLAG,
                "destination": _TEXT,
                "includes": _TEXTS,
                "ignore": _TEXTS,
            },
            "git",
        ),
        _closed({"package": _TEXT}, "package"),
        _closed({"pipeline": _TEXT, "stage": _NAME, "ignore_for_scheduling": _FLAG}, "pipeline", "stage"),
        {"type": "object", "required": ["scm"]},
    ]
}
_PIPELINE = _closed(
    {
        "group": _NAME,
        "display_order": {"type": "integer"},
        "template": _NAME,
        "label_template": {"type": "string", "pattern": r"\$\{|#\{"},
        "lock_behavior": {"enum": ["none", "lockOnFailure", "unlockWhenFinished"]},
        "parameters": _VARIABLES,
        "tracking_tool": {"type": "object"},
        "timer": {"type": "object"},
        "environment_variables": _VARIABLES,
        "secure_variables": _VARIABLES,
        "materials": {
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/material"},
            "propertyNames": _NAME,
            "minProperties": 1,
        },
        "stages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "propertyNames": _NAME,
                # A stage with one job may be written as that job.
                "additionalProperties": {
                    "anyOf": [_closed(_STAGE, "jobs"), _closed({**_STAGE, **_JOB}, "tasks")]
                },
            },
        },
    },
    "group",
    "materials",
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_closed(
        {
            "format_version": {"const": 10},
            "pipelines": {"type": "object", "propertyNames": _NAME, "additionalProperties": _PIPELINE},
            "environments": {"type": "object"},
            "common": {},
        },
        "format_version",
    ),
    "$defs": {"task": _TASK, "artifact": _ARTIFACT, "material": _MATERIAL},
}

DOCUMENTED = (
    """
format_version: 10
environments:
  testing:
    environment_variables:
      DEPLOYMENT: testing
    pipelines:
      - mypipe1
pipelines:
  mypipe1:
    group: mygroup
    label_template: "${mygit[:8]}"
    lock_behavior: none
    parameters:
      param1: value1
    materials:
      mygit:
        git: http://my.example.org/repo.git
        branch: ci
      upstream:
        pipeline: pipe2
        stage: test
    stages:
      - build:
          clean_workspace: true
          jobs:
            csharp:
              run_instances: 3
              resources:
                - net45
              artifacts:
                - build:
                    source: bin/
                    destination: build
                - test:
                    source: tests/
                    destination: test-reports/
                - external:
                    id: docker-image
                    store_id: dockerhub
                    configuration:
                      options:
                        Image: gocd/gocd-server
              tabs:
                report: test-reports/index.html
              environment_variables:
                MONO_PATH: /usr/bin/mono
              tasks:
                - fetch:
                    pipeline: pipe2
                    stage: build
                    job: test
                    source: test-bin/
                    destination: bin/
                - exec:
                    command: make
                    arguments:
                      - "VERBOSE=true"
                - script: ./build.sh compile
""",
    """
format_version: 10
pipelines:
  pipe2:
    group: mygroup
    materials:
      appPackage:
        package: apt-repo-package-id
    stages:
      - test:
          approval: manual
          timeout: 5
          tasks:
            - exec:
                command: make
                working_directory: dir
                run_if: any
                on_cancel:
                  exec:
                    command: clean
      - deploy:
          approval:
            type: manual
            allow_only_on_success: true
            users:
              - bob
          fetch_materials: false
          jobs:
            deploy:
              elastic_profile_id: docker
              tasks:
                - exec:
                    command: deploy
""",
)
"""The README's examples, put together and shortened."""

BROKEN: tuple[tuple[str, str, str], ...] = (
    ("an unknown format", "format_version: 10", "format_version: 1"),
    ("an unknown key at the top", "pipelines:", "pipeline:"),
    ("an unknown way to lock", "lock_behavior: none", "lock_behavior: always"),
    ("a label that is the same every time", "label_template: ", "label_template: x #"),
    ("a pipeline without a group", "    group: ", "    parameters: {}\n    display_order: 1 #"),
    ("a fetch without its stage", "                stage: containerize\n", ""),
    ("a task that is none", "          - exec:", "          - execute:"),
    ("a timeout in words", "timeout: 15", "timeout: soon"),
    ("an approval that is none", "type: manual", "type: maybe"),
    ("an unknown key of a stage", "clean_workspace: true", "clean_working_directory: true"),
    ("a material of no kind", "        git: ", "        url: "),
    ("an artifact without a source", "                source: image.json\n", ""),
)
"""What is wrong, what is replaced in a generated pipeline, and by what."""
