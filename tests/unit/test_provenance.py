"""The label file and the labels: pure, complete, and safe against what MLflow carried."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.provenance import (
    EC2_TAG_VALUE_LIMIT,
    LABEL_LIMIT,
    VALUE_LIMIT,
    BaseFacts,
    Provenance,
    ec2_tags,
    label,
    parse_label_file,
    provenance_of,
    rfc3339,
)
from runbake.redaction import MARKER
from runbake.tracking import FetchedModel, Flavor, Metric, PromotedRun
from runbake_serving import contract
from tests.unit.samples import HOSTILE, RUN_ID, a_lock, a_model, a_run

ROOT = Path(__file__).parents[2]
BASE = BaseFacts(digest="sha256:" + "2" * 64, python="3.11.2")


def provenance(run: PromotedRun, model: FetchedModel | None = None) -> Provenance:
    return provenance_of(run, model or a_model(), a_lock(), BASE, flavor="sklearn", codec_id="gzip:x")


def test_equal_facts_give_equal_bytes() -> None:
    """The label file is a pure function of its arguments."""
    assert provenance(a_run()) == provenance(a_run())


def test_promotion_does_not_reach_the_digest() -> None:
    """How and when a run was promoted, and how RUN was spelled, changes no byte."""
    promoted = a_run(promotion=None, asked="models:/x@champion", model_uri="elsewhere:/")

    assert provenance(promoted) == provenance(a_run())


def test_the_label_file_says_where_the_model_came_from() -> None:
    """Run, parameters, metrics, data, files, lock and base are all there."""
    document = parse_label_file(provenance(a_run()).body)

    assert document["run"]["id"] == RUN_ID
    assert document["run"]["endedAt"] == "2025-12-29T09:21:00Z"
    assert document["run"]["parameters"] == {"C": "0.5"}
    assert document["run"]["metrics"] == {"accuracy": {"step": 0, "value": 0.98}}
    assert document["run"]["source"] == {"mlflow.source.git.commit": "a" * 40}
    assert document["model"]["files"][0]["sha256"] == "0" * 64
    assert document["data"][0]["mlflowDigest"] == {"value": "12345678", "cryptographic": False}
    assert document["environment"]["lock"]["digest"] == a_lock().digest
    assert document["environment"]["base"] == {"digest": BASE.digest}


def test_labels_lead_back_and_name_the_file() -> None:
    """The labels carry the run, the commit and the digest of the label file."""
    made = provenance(a_run())
    labels = dict(made.labels)

    assert labels[contract.LABEL_RUN_ID] == RUN_ID
    assert labels["org.opencontainers.image.revision"] == "a" * 40
    assert labels[contract.LABEL_PROVENANCE_DIGEST] == made.digest
    assert contract.LABEL_MODEL_NAME not in labels, "an empty value makes no label"


def test_hostile_text_stays_text() -> None:
    """Nothing from MLflow can break a line, hide behind control characters, or vanish from the label file."""
    made = provenance(a_run(run_name=HOSTILE, params=((HOSTILE, HOSTILE),), experiment_name=HOSTILE))

    document = parse_label_file(made.body)
    assert document["run"]["name"] == HOSTILE
    assert document["run"]["parameters"] == {HOSTILE: HOSTILE}
    assert all(value.isprintable() for _, value in made.labels)


def test_secrets_reach_neither_file_nor_labels() -> None:
    """A password in a parameter, a token in a name, credentials in a source are replaced."""
    secret = "hunter2secret"
    made = provenance(
        a_run(
            params=(("db_password", secret),),
            source_tags=(("mlflow.source.git.repoURL", f"https://me:{secret}@host/x.git"),),
        )
    )

    assert secret.encode() not in made.body
    assert secret not in str(made.labels)
    assert dict(made.labels)["org.opencontainers.image.source"] == f"https://{MARKER}@host/x.git"


def test_long_values_are_cut_and_counted() -> None:
    """100 kB in a parameter keep the label file small, and say how much is missing."""
    document = parse_label_file(provenance(a_run(params=(("p", "x" * 100_000),))).body)

    value = document["run"]["parameters"]["p"]
    assert value.startswith("x" * VALUE_LIMIT)
    assert value.endswith(f"[cut by runbake: {100_000 - VALUE_LIMIT} more characters]")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_metrics_without_a_json_word_are_text(value: float) -> None:
    """The label file is valid JSON whatever was logged."""
    body = provenance(a_run(metrics=(Metric(name="m", value=value, step=0, timestamp_ms=0),))).body

    def refuse(name: str) -> None:
        raise AssertionError(name)

    document = json.loads(body, parse_constant=refuse)
    assert document["run"]["metrics"]["m"]["value"] == str(value)


def test_a_lone_surrogate_does_not_stop_the_build() -> None:
    """MLflow's JSON may carry half a character; UTF-8 cannot."""
    assert b"broken" in provenance(a_run(run_name="broken \ud800")).body
    signature = json.dumps({"inputs": [{"name": "column \ud800", "type": "double"}]})
    assert b"column ?" in provenance(a_run(), model=a_model(signature_json=signature)).body


@pytest.mark.parametrize(
    ("time_ms", "written"),
    [
        (1_767_000_060_999, "2025-12-29T09:21:00Z"),
        (10**18, "9999-12-31T23:59:59Z"),
        (-(10**18), "0001-01-01T00:00:00Z"),
    ],
)
def test_any_number_is_a_time(time_ms: int, written: str) -> None:
    """Whoever logs a run may give it any end: what no calendar has is the nearest that it has."""
    assert rfc3339(time_ms) == written


@given(st.text(max_size=3 * LABEL_LIMIT))
def test_labels_are_one_printable_line_of_bounded_length(text: str) -> None:
    """Any text makes a label that every registry takes."""
    made = label(text)

    assert made.isprintable()
    assert len(made) <= LABEL_LIMIT + 50


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"schema": "other"}', b"\xff"])
def test_other_files_are_not_label_files(body: bytes) -> None:
    """Only a document of this schema is believed."""
    with pytest.raises(ValueError):  # noqa: PT011 -- json's own message for the broken ones
        parse_label_file(body)


SCHEMA = json.loads((ROOT / "docs" / "schemas" / "provenance-v1.json").read_text())


def test_label_files_follow_their_schema() -> None:
    """The documented schema holds for a plain run and for hostile, odd, long and many values."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    many = tuple((f"p{number:05}", "é" * (6_000 if number < 50 else 9)) for number in range(10_000))
    for run in (
        a_run(),
        a_run(params=many, run_name=HOSTILE, user="Łukasz \ud800"),
        a_run(metrics=(Metric(name="m", value=float("nan"), step=-1, timestamp_ms=0),), datasets=()),
    ):
        document = parse_label_file(provenance(run).body)
        jsonschema.validate(document, SCHEMA)
        assert len(document["run"]["parameters"]) == len(run.params)  # type: ignore[index]


@pytest.mark.parametrize("place", [(), ("run",), ("model",), ("environment", "lock"), ("model", "files", 0)])
def test_the_schema_knows_every_key(place: tuple[str | int, ...]) -> None:
    """A key that the schema does not list is refused: whoever adds one documents it."""
    document = parse_label_file(provenance(a_run()).body)
    where: Any = document
    for step in place:
        where = where[step]
    where["surprise"] = 1

    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate(document, SCHEMA)


def test_flavors_name_the_libraries() -> None:
    """The versions that MLmodel's flavors give are in the label file, by library."""
    flavors = (
        Flavor(name="python_function", config_json='{"python_version": "3.11.7"}'),
        Flavor(name="sklearn", config_json='{"sklearn_version": "1.9.1", "code": null}'),
    )
    document: Any = parse_label_file(provenance(a_run(), a_model(flavors=flavors)).body)
    assert document["model"]["libraries"] == {"sklearn": "1.9.1"}


def test_secrets_in_a_signature_are_replaced() -> None:
    """The default of a parameter called a key, and a token in any place."""
    params = [{"name": "api_key", "type": "string", "default": "hunter2", "shape": None}]
    signature = json.dumps({"inputs": [{"name": "ghp_" + "a1" * 18}], "params": params})
    body = provenance(a_run(), a_model(signature_json=signature)).body

    assert b"hunter2" not in body
    assert b"ghp_" not in body
    assert json.loads(body)["model"]["signature"]["params"][0]["name"] == "api_key"


@given(st.text(max_size=600))
def test_ec2_takes_every_label_as_a_tag(value: str) -> None:
    """At most 256 characters of those that every AWS service takes, and how many are missing."""
    ((_, tag),) = ec2_tags((("dev.runbake.x", value),))

    assert len(tag) <= EC2_TAG_VALUE_LIMIT
    assert re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]*", tag)
    if len(value) > EC2_TAG_VALUE_LIMIT:
        kept, _, missing = tag.rpartition("... +")
        assert len(kept) + int(missing) == len(value)


def test_our_own_labels_come_first_as_tags() -> None:
    """AWS allows 50 tags: a base image's labels cannot push ours out."""
    labels = [(f"a{number}", "x") for number in range(100)] + [(contract.LABEL_RUN_ID, RUN_ID)]
    tags = ec2_tags(labels)

    assert (contract.LABEL_RUN_ID, RUN_ID) in tags
    assert len(tags) == 40
