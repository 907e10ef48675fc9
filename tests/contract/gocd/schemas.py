"""JSON Schemas of what GoCD answers, from notes on its API documentation; the page of each is named.

Examples written after the documentation's and the double's answers pass the same schemas.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_TEXT_OR_NONE = {"type": ["string", "null"]}
_INTEGER = {"type": "integer"}
_FLAG = {"type": "boolean"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": sorted(required),
        "properties": {**required, **(optional or {})},
    }


MESSAGE = _object({"message": _TEXT})
"""Every error, and the answer 202 (api.gocd.org, "Errors" and "Scheduling pipelines")."""

VERSION = _object({"version": _TEXT, "build_number": _TEXT, "git_sha": _TEXT, "full_version": _TEXT})
"""api.gocd.org, "Get version"."""

STATUS = _object({"paused": _FLAG, "locked": _FLAG, "schedulable": _FLAG}, {"paused_cause": _TEXT_OR_NONE})
"""api.gocd.org, "Get pipeline status"."""

_MODIFICATION = _object(
    {"revision": _TEXT, "modified_time": _INTEGER, "user_name": _TEXT_OR_NONE, "comment": _TEXT_OR_NONE},
    {"email_address": _TEXT_OR_NONE},
)
_MATERIAL = _object(
    {"name": _TEXT, "fingerprint": _TEXT, "type": _TEXT, "description": _TEXT},
)
_JOB = _object({"name": _TEXT, "scheduled_date": _INTEGER, "state": _TEXT, "result": _TEXT})
_STAGE = _object(
    {
        "name": _TEXT,
        # A text, where a pipeline's counter is a number.
        "counter": {"type": "string", "pattern": "^[0-9]+$"},
        "approval_type": {"enum": ["success", "manual"]},
        "scheduled": _FLAG,
        "jobs": {"type": "array", "items": _JOB},
        "can_run": _FLAG,
        "operate_permission": _FLAG,
    },
    {
        "result": _TEXT_OR_NONE,
        "status": _TEXT_OR_NONE,
        "approved_by": _TEXT_OR_NONE,
        "rerun_of_counter": {"type": ["integer", "null"]},
    },
)
INSTANCE = _object(
    {
        "name": _TEXT,
        "counter": _INTEGER,
        "label": {"type": "string", "maxLength": 255},
        "natural_order": {"type": "number"},
        "can_run": _FLAG,
        "preparing_to_schedule": _FLAG,
        "comment": _TEXT_OR_NONE,
        "scheduled_date": _INTEGER,
        "build_cause": _object(
            {
                "trigger_message": _TEXT,
                "trigger_forced": _FLAG,
                "approver": _TEXT,
                "material_revisions": {
                    "type": "array",
                    "items": _object(
                        {
                            "changed": _FLAG,
                            "material": _MATERIAL,
                            "modifications": {"type": "array", "items": _MODIFICATION},
                        }
                    ),
                },
            }
        ),
        "stages": {"type": "array", "items": _STAGE},
    }
)
"""api.gocd.org, "Get pipeline instance"."""

HISTORY = _object(
    {"pipelines": {"type": "array", "items": INSTANCE}},
    {
        "_links": _object(
            {},
            {name: _object({"href": {"type": "string", "format": "uri"}}) for name in ("next", "previous")},
        )
    },
)
"""api.gocd.org, "Get pipeline history"."""

PACKAGE_COMMENT = _object(
    {"TYPE": {"const": "PACKAGE_MATERIAL"}, "TRACKBACK_URL": _TEXT, "COMMENT": _TEXT},
)
"""What the comment of a package material's modification holds, as a JSON text (PackageMaterialPoller)."""

SCHEDULE = {
    **_object(
        {},
        {
            "environment_variables": {
                "type": "array",
                "items": {
                    **_object({"name": _TEXT}, {"value": _TEXT, "encrypted_value": _TEXT, "secure": _FLAG}),
                    "additionalProperties": False,
                },
            },
            "materials": {"type": "array", "items": _object({"fingerprint": _TEXT, "revision": _TEXT})},
            "update_materials_before_scheduling": _FLAG,
        },
    ),
    "additionalProperties": False,
}
"""The body of a request (api.gocd.org, "Scheduling pipelines")."""

DOCUMENTED: tuple[tuple[dict[str, Any], Any], ...] = (
    (MESSAGE, {"message": "Request to schedule pipeline pipeline1 accepted"}),
    (
        VERSION,
        {"version": "16.6.0", "build_number": "3348", "git_sha": "a7a5717c", "full_version": "16.6.0 (3348)"},
    ),
    (
        STATUS,
        {"paused": True, "paused_cause": "why", "paused_by": "admin", "locked": False, "schedulable": False},
    ),
    (
        SCHEDULE,
        {
            "environment_variables": [
                {"name": "USERNAME", "secure": False, "value": "bob"},
                {"name": "SSL_PASSPHRASE", "value": "some passphrase", "secure": True},
                {"name": "PASSWORD", "encrypted_value": "aSdiFgRRZ6A=", "secure": True},
            ],
            "materials": [{"fingerprint": "3dcc4e2f", "revision": "3123abcef"}],
            "update_materials_before_scheduling": True,
        },
    ),
    (
        HISTORY,
        {
            "_links": {"next": {"href": "https://ci.example.com/go/api/pipelines/up/history?after=2"}},
            "pipelines": [
                {
                    "name": "up",
                    "counter": 3,
                    "label": "3",
                    "natural_order": 3.0,
                    "can_run": True,
                    "preparing_to_schedule": False,
                    "comment": None,
                    "scheduled_date": 1436519914578,
                    "build_cause": {
                        "trigger_message": "Forced by admin",
                        "trigger_forced": True,
                        "approver": "admin",
                        "material_revisions": [
                            {
                                "changed": False,
                                "material": {
                                    "name": "repo",
                                    "fingerprint": "de08b34d116d6cb",
                                    "type": "Git",
                                    "description": "URL: https://git.example.com/repo, Branch: master",
                                },
                                "modifications": [
                                    {
                                        "revision": "a788f1876e2e1f6e5",
                                        "modified_time": 1436519914000,
                                        "user_name": "Pick E Reader <pick@example.com>",
                                        "comment": "my hola mundo changes",
                                        "email_address": None,
                                    }
                                ],
                            }
                        ],
                    },
                    "stages": [
                        {
                            "result": "Passed",
                            "status": "Passed",
                            "rerun_of_counter": None,
                            "name": "up42_stage",
                            "counter": "1",
                            "scheduled": True,
                            "approval_type": "success",
                            "approved_by": "admin",
                            "operate_permission": True,
                            "can_run": True,
                            "jobs": [
                                {
                                    "name": "up42_job",
                                    "scheduled_date": 1436519914578,
                                    "state": "Completed",
                                    "result": "Passed",
                                }
                            ],
                        }
                    ],
                }
            ],
        },
    ),
)
"""Written after what the documentation shows; not copied."""
