"""The pages in a real browser: a person's way through them, and what hostile label files cannot do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from lab.browser import PACKAGES
from lab.packages import find_program
from tests.integration.serving.models_to_serve import named_columns, save
from tests.integration.serving.test_process import DEADLINE_S, Running, running

HOSTILE = "</script><script>window.evil=1</script><img src=x onerror='window.evil=1'>{{7*7}}\u202e\"'&"
LABELS = {
    "run": {
        "id": HOSTILE,
        "name": HOSTILE,
        "user": "u" * 3000,
        "experiment": {"id": "1", "name": HOSTILE},
        "parameters": {HOSTILE: HOSTILE, "big": "x" * 100_000, "js": "javascript:window.evil=1"},
        "metrics": {HOSTILE: {"value": 0.5}, "n" * 3000: {"value": 1.5}},
        "source": {"mlflow.source.git.repoURL": "javascript:window.evil=1", "mlflow.source.name": HOSTILE},
    },
    "model": {"registeredName": HOSTILE, "registeredVersion": "v" * 3000},
    "data": [{"name": HOSTILE, "source": "javascript:window.evil=1"}],
}
PHONE, DESK = (390, 800), (1280, 900)


def browser_of(*, script: bool = True) -> Chrome:
    """A browser without a screen."""
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--no-proxy-server")
    options.binary_location = str(find_program(PACKAGES["chromium"]))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    return Chrome(options=options, service=Service(find_program(PACKAGES["chromium-driver"])))


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """One browser for all tests of this file."""
    with browser_of() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A model behind a hostile label file."""
    path = tmp_path_factory.mktemp("page")
    save(named_columns(), path / "model")
    (path / "provenance.json").write_text(json.dumps(LABELS))
    with running(path, path / "model", RUNBAKE_WORKERS="1") as one:
        yield one


def opened(browser: Chrome, server: Running, path: str = "/", size: tuple[int, int] = DESK) -> Chrome:
    """The browser with this page in a window of this size."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(f"http://127.0.0.1:{server.port}{path}")
    return browser


def element(browser: Chrome, selector: str) -> WebElement:
    """The first element of this selector."""
    return browser.find_element(By.CSS_SELECTOR, selector)


def predicted(browser: Chrome) -> str:
    """What is shown after a click on the button."""
    element(browser, "#actions button").click()
    WebDriverWait(browser, DEADLINE_S).until(
        lambda _: (
            element(browser, "#result").is_displayed() and element(browser, "#actions button").is_enabled()
        )
    )
    return element(browser, "#answer").text


def test_a_prediction_by_hand(browser: Chrome, server: Running) -> None:
    """The form is filled, answers as /invocations does, and the command beside it says the same."""
    opened(browser, server)
    row = dict(zip(named_columns().rows.columns, (6.5, 3.0, 5.5, 1.8), strict=True))
    for name, value in row.items():
        control = element(browser, f"[data-name={json.dumps(name)}]")
        assert control.get_attribute("value")
        control.clear()
        control.send_keys(str(value))
    status, body, _ = server.ask("POST", "/invocations", json.dumps({"dataframe_records": [row]}))
    assert status == 200
    assert json.loads(predicted(browser)) == json.loads(body)["predictions"]
    words = shlex.split(element(browser, "#curl").text)
    assert words[1] == f"http://127.0.0.1:{server.port}/predict"
    assert json.loads(words[-1]) == {"rows": [row]}
    assert browser.get_log("browser") == []


def test_a_refusal_is_shown_at_its_field(browser: Chrome, server: Running) -> None:
    """What is wrong is told where it is, and is gone with the next answer."""
    opened(browser, server)
    control = element(browser, "[data-name]")
    control.send_keys("x")
    assert "must be a number" in predicted(browser)
    assert element(browser, ".fault").text == "must be a number"
    assert control.get_attribute("aria-invalid") == "true"
    control.clear()
    control.send_keys("1.5")
    assert json.loads(predicted(browser))
    assert element(browser, ".fault").text == ""
    messages = [entry for entry in browser.get_log("browser") if "422" not in entry["message"]]
    assert messages == []


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_hostile_values(browser: Chrome, server: Running, path: str, size: tuple[int, int]) -> None:
    """Nothing runs, nothing is loaded, no link leads astray, and the page is no wider than the window."""
    opened(browser, server, path, size)
    for details in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        browser.execute_script("arguments[0].parentElement.open = true", details)
    state: dict[str, Any] = browser.execute_script(
        "return {evil: window.evil, wide: document.documentElement.scrollWidth,"
        "images: document.images.length,"
        "loaded: performance.getEntriesByType('resource').length,"
        "links: [...document.links].map((link) => link.protocol + link.host)}"
    )
    assert (state["evil"], state["images"], state["loaded"]) == (None, 0, 0)
    assert state["wide"] <= size[0]
    assert set(state["links"]) == {f"http:127.0.0.1:{server.port}"}
    assert HOSTILE.partition("\u202e")[0] in element(browser, "body").get_attribute("textContent")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_policy_stops_what_got_in(browser: Chrome, server: Running, path: str) -> None:
    """Even a script, style or handler that is put into the page does not run, and nothing is fetched."""
    opened(browser, server, path)
    ran = browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.evil = 1';"
        "document.body.append(script);"
        "const box = document.createElement('div'); box.innerHTML = '<b onclick=\"window.evil=2\">x</b>';"
        "document.body.append(box); box.firstChild.click();"
        "const style = document.createElement('style'); style.textContent = 'body{color:rgb(1,2,3)}';"
        "document.head.append(style);"
        "return [window.evil, getComputedStyle(document.body).color === 'rgb(1, 2, 3)']"
    )
    assert ran == [None, False]
    violations = [entry["message"] for entry in browser.get_log("browser")]
    assert len(violations) >= 3
    assert all("Content Security Policy" in message for message in violations)


def test_without_script(server: Running) -> None:
    """All but the form works: facts, folded tables and the command are there."""
    with browser_of(script=False) as browser:
        opened(browser, server)
        assert not element(browser, "#actions").is_displayed()
        assert "The form needs JavaScript" in element(browser, "noscript").text
        assert element(browser, "#curl").text.startswith("curl ")
        folded = element(browser, "details.card:not([open]) > summary, details.long > summary")
        folded.click()
        assert folded.find_element(By.XPATH, "..").get_attribute("open") is not None


def test_light_and_dark(browser: Chrome, server: Running) -> None:
    """The page follows the person's choice, and text stands out in both (WCAG AA: 4.5 to 1)."""
    seen = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        opened(browser, server)
        for selector in ("body", ".facts dt", "td", ".card .type", "nav a", "#actions button", ".pill"):
            ink, paper = browser.execute_script(
                "const own = arguments[0]; let one = own, paper = 'rgba(0, 0, 0, 0)';"
                "while (paper === 'rgba(0, 0, 0, 0)') "
                "{ paper = getComputedStyle(one).backgroundColor; one = one.parentElement; }"
                "return [getComputedStyle(own).color, paper]",
                element(browser, selector),
            )
            assert contrast(ink, paper) >= 4.5, (scheme, selector)
            seen.add(paper)
    assert len(seen) >= 4


def contrast(ink: str, paper: str) -> float:
    """WCAG 2.2's contrast ratio of two `rgb(…)`."""
    light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_no_size_of_a_model_breaks_the_page(browser: Chrome, tmp_path: Path) -> None:
    """A model without a signature has a page without a form."""
    from tests.integration.serving.models_to_serve import unsigned

    save(unsigned(), tmp_path / "model")
    with running(tmp_path, tmp_path / "model", RUNBAKE_WORKERS="1") as one:
        opened(browser, one)
        assert browser.find_elements(By.CSS_SELECTOR, "form") == []
        assert "no signature" in element(browser, "main").text
