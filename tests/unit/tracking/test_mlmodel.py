"""What a model directory says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.errors import ArtifactMissing, NoModel
from runbake.tracking import ModelDescription
from runbake.tracking._mlmodel import description_of, requirements_of

MLMODEL = """\
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.10}
  sklearn: {pickled_model: model.pkl}
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "é"}]'
  outputs: null
  params: null
"""


def model(root: Path, mlmodel: str = MLMODEL, **files: str) -> Path:
    """A model directory."""
    (root / "MLmodel").write_text(mlmodel)
    (root / "requirements.txt").write_text("scikit-learn\n")
    (root / "model.pkl").write_bytes(b"")
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def described(root: Path) -> ModelDescription:
    """What the directory says of itself, all of whose files are the model's."""
    return description_of(root, {path.relative_to(root).as_posix() for path in root.rglob("*")})


def test_a_model_describes_itself(tmp_path: Path) -> None:
    """Flavors are sorted and canonical JSON; the signature's inner JSON texts are taken out."""
    description = described(model(tmp_path))
    assert [flavor.name for flavor in description.flavors] == ["python_function", "sklearn"]
    assert description.flavors[1].config_json == '{"pickled_model":"model.pkl"}'
    assert (
        description.signature_json == '{"inputs":[{"name":"é","type":"double"}],"outputs":null,"params":null}'
    )
    assert (description.mlflow_version, description.requirements) == ("3.17.2", ("scikit-learn",))


def test_constraints_beside_the_requirements_are_kept(tmp_path: Path) -> None:
    """MLflow writes `-c constraints.txt` above the requirements; without them, others would be built."""
    root = model(tmp_path, constraints__txt="numpy<2  # why\n")
    (root / "requirements.txt").write_text("-c constraints.txt\nscikit-learn\n")
    description = described(root)

    assert (description.requirements, description.constraints) == (("scikit-learn",), ("numpy<2",))
    (root / "constraints.txt").unlink()
    assert described(root).constraints == ()


def test_python_3_10_is_not_3_1(tmp_path: Path) -> None:
    """An unquoted version is text, in python_env.yaml as in MLmodel, where YAML reads a number."""
    assert described(model(tmp_path)).python_version == "3.10"
    assert described(model(tmp_path, python_env__yaml="python: 3.20\n")).python_version == "3.20"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ()),
        ("a==1\n\n# b==2\n  c>=3  # why\n", ("a==1", "c>=3")),
        ("--index-url https://u:p@host/simple\n-c pins.txt\n--extra-index-url x\na\n", ("a",)),
        ("-r other.txt\n -e .\n--editable=.\n", ("-r other.txt", "-e .", "--editable=.")),
        ("a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nb\n", ("a==1", "b")),
        ("x @ https://host/x.whl#sha256=00\n", ("x @ https://host/x.whl#sha256=00",)),
        ("a; python_version < '3.12'\r\nb\r\n", ("a; python_version < '3.12'", "b")),
        ("# Original requirements:\n# a\n# Locked:\na==1\n    # via b\n", ("a==1",)),
    ],
)
def test_requirements_without_comments_and_options(text: str, kept: tuple[str, ...]) -> None:
    """Comments, blank lines and options are dropped, except those that ask for packages; lines are joined."""
    assert requirements_of(text) == kept


@given(st.text())
def test_no_requirement_is_an_option_or_comment(text: str) -> None:
    """Whatever the file holds, no line is a comment, blank, or an option that asks for no package."""
    asking = ("-e", "-r", "--editable", "--requirement")
    for line in requirements_of(text):
        assert line == line.strip()
        assert line[0] not in "-#" or line.startswith(asking)


@pytest.mark.parametrize(
    ("mlmodel", "says"),
    [
        ("flavors:\n  a: [\n", "MLmodel, line 3"),
        ("- a\n- b\n", "MLmodel, line 1: not a mapping"),
        ("", "MLmodel, line 1: not a mapping"),
        ("run_id: x\n", "names no flavors"),
        ("flavors: [sklearn]\n", "names no flavors"),
        ("flavors: {a: !!python/object/apply:os.system ['touch /tmp/pwned']}\n", "MLmodel, line 1"),
        ("flavors: {a: {}}\nsignature: {inputs: '[{'}\n", r"signature\.inputs is not JSON"),
        ("flavors: {a: &x {b: *x}}\n", "cannot be written as JSON"),
        ("flavors: " + "[" * 5000, "MLmodel"),
    ],
)
def test_malformed_mlmodel_is_refused(tmp_path: Path, mlmodel: str, says: str) -> None:
    """Broken, empty, hostile or endless YAML is NoModel with file and line, and runs nothing."""
    with pytest.raises(NoModel, match=says):
        described(model(tmp_path, mlmodel))


def test_a_yaml_bomb_is_refused(tmp_path: Path) -> None:
    """Aliases that unfold to gigabytes are refused early."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "l0: &l0 [lol]\n" + "\n".join(levels) + "\nflavors: {sklearn: *l11}\n"
    with pytest.raises(NoModel, match="unfolds to more than 8 MiB"):
        described(model(tmp_path, bomb))


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    """No MLmodel is NoModel; a missing requirements.txt, example or estimator is ArtifactMissing."""
    with pytest.raises(NoModel, match="no MLmodel"):
        described(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {a: {}}")
    with pytest.raises(ArtifactMissing, match=r"no requirements\.txt"):
        described(tmp_path)
    example = {"flavors": {"a": {}}, "saved_input_example_info": {"artifact_path": "input_example.json"}}
    with pytest.raises(ArtifactMissing, match=r"'input_example\.json'"):
        described(model(tmp_path, json.dumps(example)))
    (model(tmp_path) / "model.pkl").unlink()
    with pytest.raises(ArtifactMissing, match=r"'model\.pkl'"):
        described(tmp_path)


@pytest.mark.parametrize("path", ["../secret.json", "/etc/hostname"])
def test_an_example_outside_the_model_is_refused(tmp_path: Path, path: str) -> None:
    """MLmodel cannot name a file outside its directory."""
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "model").mkdir()
    example = {"flavors": {"a": {}}, "saved_input_example_info": {"artifact_path": path}}
    with pytest.raises(ArtifactMissing):
        described(model(tmp_path / "model", json.dumps(example)))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Binary where text should be names the file."""
    (model(tmp_path) / "MLmodel").write_bytes(b"flavors: \xff\xfe")
    with pytest.raises(NoModel, match="MLmodel is not UTF-8"):
        described(tmp_path)
