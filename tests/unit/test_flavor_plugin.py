"""A flavor of another package: one page on each side, found by entry points."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from runbake import flavors
from runbake.errors import UnsupportedFlavor
from runbake.tracking import Flavor as Named
from runbake_serving.errors import StartError
from runbake_serving.flavors import page_of
from runbake_serving.model.model import Question, load_model
from tests.unit.samples import a_model

TOOLKIT = """
from runbake.flavors import Flavor, Served

def _recognises(model):
    return any(flavor.name == "toy" for flavor in model.flavors)

def _serve(model):
    return Served(flavor="toy", requirements=(*model.requirements, "toy==1.0"), environment=(("TOY", "1"),))

FLAVOR = Flavor(name="toy", tolerance=0.5, recognises=_recognises, serve=_serve)
NONE = "no flavor"
"""
PAGE = """
from runbake_serving.flavors.flavor import Page

PAGE = Page(name="toy", module="toy_loading", forks=False)
NONE = "no page"
"""
LOADING = """
from runbake_serving.flavors.flavor import Loaded, Rules

def load(root, flavors, signature, *, always_dataframe):
    factor = flavors["toy"]["factor"]
    return Loaded(predict=lambda data, params: data * factor, rules=Rules(rows_may_be_joined=True))
"""
POINTS = "[runbake.flavors]\ntoy = toy_toolkit:{name}\n[runbake_serving.flavors]\ntoy = toy_page:{page}\n"
MODEL = "flavors:\n  toy:\n    factor: 3\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed packages with the distribution `toy` in it."""
    for name, text in {"toolkit": TOOLKIT, "page": PAGE, "loading": LOADING}.items():
        (tmp_path / f"toy_{name}.py").write_text(text)
    _install(tmp_path, name="FLAVOR", page="PAGE")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def _install(site: Path, *, name: str, page: str) -> None:
    home = site / "toy-1.0.dist-info"
    home.mkdir(exist_ok=True)
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text(POINTS.format(name=name, page=page))


def test_the_toolkit_finds_it(site: Path) -> None:
    """The plug-in's page decides requirements, environment and tolerance."""
    assert site.is_dir()
    served = flavors.serve(a_model(flavors=(Named(name="toy", config_json="{}"),), requirements=("numpy",)))

    assert served == flavors.Served(
        flavor="toy", requirements=("numpy", "toy==1.0"), environment=(("TOY", "1"),)
    )
    assert flavors.by_name("toy").tolerance == 0.5


def test_the_runtime_loads_it(site: Path) -> None:
    """The plug-in's loader makes the prediction, and its page says that it does not fork."""
    (site / "MLmodel").write_text(MODEL)

    model = load_model(site)
    assert model.answer(model.checked(Question(data=7))) == 21
    assert not page_of({"toy": {}}).forks


def test_what_is_no_flavor_is_refused(site: Path) -> None:
    """An entry point that refers to something else is an error that names it."""
    _install(site, name="NONE", page="NONE")
    importlib.invalidate_caches()

    with pytest.raises(UnsupportedFlavor, match="toy_toolkit:NONE"):
        flavors.serve(a_model(flavors=(Named(name="toy", config_json="{}"),)))
    with pytest.raises(StartError, match="toy_page:NONE"):
        page_of({"toy": {}})


def test_both_sides_ask_in_the_same_order() -> None:
    """The runtime loads a model by the page that the toolkit built its environment for."""
    from runbake_serving.flavors import FLAVORS, GENERIC

    assert [page.name for page in FLAVORS] == [flavor.name for flavor in flavors.FLAVORS]
    assert GENERIC.name == flavors.GENERIC.name


def test_it_comes_before_mlflow_itself(site: Path) -> None:
    """A model that MLflow could load too is the plug-in's, on both sides."""
    assert site.is_dir()
    both = (
        Named(name="python_function", config_json='{"loader_module": "toy"}'),
        Named(name="toy", config_json="{}"),
    )

    assert flavors.serve(a_model(flavors=both)).flavor == "toy"
    assert page_of({"python_function": {}, "toy": {}}).name == "toy"
