"use strict";
(function () {
  const at = (id) => document.getElementById(id);
  const form = at("form"), whole = at("whole"), curl = at("curl");
  const controls = Array.from(form.querySelectorAll("[data-name]"));
  const number = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

  // Numbers stay as they were typed: a long does not survive JavaScript's own.
  function text(control) {
    const value = control.value, kind = control.dataset.kind;
    if (kind === "json") return value.trim();
    if (kind === "text") return value === "" && "optional" in control.dataset ? "" : JSON.stringify(value);
    return value.trim() === "" || number.test(value.trim()) ? value.trim() : JSON.stringify(value);
  }

  function body() {
    if (whole) return whole.value;
    const given = controls.map((control) => [control.dataset.name, text(control)]).filter((pair) => pair[1] !== "");
    return '{"rows": [{' + given.map(([name, value]) => JSON.stringify(name) + ": " + value).join(", ") + "}]}";
  }

  const quoted = (value) => "'" + value.replaceAll("'", "'\\''") + "'";

  function shown(predictions) {
    const short = JSON.stringify(predictions);
    return short.length <= 100 ? short : JSON.stringify(predictions, null, 2);
  }

  function show() {
    curl.textContent = "curl " + quoted(curl.dataset.address + "/predict") + " \\\n  -H 'Content-Type: application/json' \\\n  -d " + quoted(body());
  }

  function clear() {
    for (const control of controls) {
      control.removeAttribute("aria-invalid");
      control.closest(".field").querySelector(".fault").textContent = "";
    }
  }

  function blame(errors) {
    for (const error of errors || []) {
      const control = controls.find((one) => one.dataset.name === error.column);
      if (!control) continue;
      control.setAttribute("aria-invalid", "true");
      control.closest(".field").querySelector(".fault").textContent = error.detail;
    }
  }

  async function predict(event) {
    event.preventDefault();
    clear();
    const button = form.querySelector("button"), started = performance.now();
    button.disabled = true;
    at("state").textContent = "…";
    try {
      const answer = await fetch("predict", {method: "POST", headers: {"Content-Type": "application/json"}, body: body()});
      const told = await answer.json();
      at("state").textContent = answer.status + " in " + Math.round(performance.now() - started) + " ms";
      at("result").classList.toggle("failed", !answer.ok);
      at("result").querySelector("h3").textContent = answer.ok ? "Prediction" : "Refused";
      at("answer").textContent = answer.ok ? shown(told.predictions) : told.detail;
      blame(told.errors);
    } catch (error) {
      at("state").textContent = "";
      at("result").classList.add("failed");
      at("result").querySelector("h3").textContent = "No answer";
      at("answer").textContent = "The server did not answer.";
    }
    at("result").hidden = false;
    button.disabled = false;
  }

  curl.dataset.address = location.href.replace(/[?#].*$/, "").replace(/\/$/, "");
  show();
  form.addEventListener("input", show);
  form.addEventListener("submit", predict);
  at("actions").hidden = false;
  if (navigator.clipboard) {
    at("copy").hidden = false;
    at("copy").addEventListener("click", async () => {
      await navigator.clipboard.writeText(curl.textContent);
      at("copy").textContent = "Copied";
    });
  }
})();
