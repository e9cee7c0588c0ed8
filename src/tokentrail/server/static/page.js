"use strict";

// Everything shown is text, never markup: names come from whoever called a model.

const api = new URL("api/v1/", document.baseURI);
const byId = (id) => document.getElementById(id);
const unknown = "–";

const count = (value) => (value === null ? unknown : value.toLocaleString("en"));
const money = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 4 });
const dollars = (value) => (value === null ? unknown : value > 0 && value < 0.0001 ? "< $0.0001" : money.format(value));
const percent = (value) => (value === null ? unknown : (100 * value).toFixed(1) + " %");

async function ask(path, parameters) {
  const url = new URL(path, api);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.append(name, value);
  const answer = await fetch(url, { credentials: "same-origin" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

function row(...texts) {
  const made = document.createElement("tr");
  for (const text of texts) made.insertCell().textContent = text ?? unknown;
  return made;
}

function tile(title, value, hole) {
  const made = document.createElement("div");
  const name = document.createElement("dt");
  const said = document.createElement("dd");
  const small = document.createElement("small");
  name.textContent = title;
  said.textContent = value;
  small.textContent = hole ?? "";
  said.append(small);
  made.append(name, said);
  return made;
}

function showTotals(overview) {
  const missing = overview.missing_usage_calls;
  const unpriced = overview.unpriced_calls;
  byId("tiles").replaceChildren(
    tile("calls", count(overview.total_calls)),
    tile("failed", percent(overview.error_rate), "errors and timeouts"),
    tile("input tokens", count(overview.input_tokens), missing ? `unknown for ${count(missing)} calls` : ""),
    tile("output tokens", count(overview.output_tokens), missing ? `unknown for ${count(missing)} calls` : ""),
    tile("cost", dollars(overview.cost_usd), unpriced ? `unknown for ${count(unpriced)} calls` : ""),
  );
}

function showModels(items) {
  byId("models").hidden = items.length === 0;
  byId("models").querySelector("tbody").replaceChildren(
    ...items.map((each) =>
      row(each.key, count(each.calls), count(each.error_calls), count(each.input_tokens), count(each.output_tokens),
        dollars(each.cost_usd), count(each.missing_usage_calls), count(each.unpriced_calls)),
    ),
  );
}

function showRunning(calls) {
  byId("running").hidden = calls.length === 0;
  byId("running").querySelector("tbody").replaceChildren(
    ...calls.map((each) =>
      row(each.model, each.provider, each.user_id, each.session_id, new Date(each.started_at).toLocaleTimeString()),
    ),
  );
}

async function refresh() {
  const days = byId("window").value;
  const window = days ? { start: new Date(Date.now() - days * 86400000).toISOString() } : {};
  try {
    const [overview, models] = await Promise.all([ask("overview", window), ask("breakdown", { by: "model", ...window })]);
    showTotals(overview);
    showModels(models.items);
    byId("note").textContent = overview.total_calls
      ? `as of ${new Date().toLocaleTimeString()}`
      : "No calls are recorded in this window. Two lines record those of a program: import tokentrail; tokentrail.install()";
  } catch (error) {
    byId("note").textContent = error.message;
  }
}

function listen() {
  const events = new EventSource(new URL("active/stream", api));
  events.addEventListener("update", (event) => {
    showRunning(JSON.parse(event.data).items);
    refresh();
  });
  events.addEventListener("disabled", (event) => {
    byId("note").textContent = JSON.parse(event.data).hint;
    events.close();
  });
}

byId("window").addEventListener("change", refresh);
setInterval(refresh, 30000);
refresh();
listen();
