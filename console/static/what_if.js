"use strict";
/* Moves a value with a slider and shows the server's assessment of it. Computes nothing: it sends the form as the button does,
   and puts the answer's parts of the page that comes back in the place of the old ones. */

const WAIT_MS = 200; // a moving slider asks once it rests
const PARTS = ["header", ".query", "#answer"]; // the header has a link back to this page, with its values

const form = document.querySelector("#what-if");
const summary = document.querySelector("#summary");
const problem = document.querySelector("#problem");
let timer = 0;
let running = new AbortController();

/** Return the address of this page with the fields of the form that are not empty. */
function address() {
  const fields = [...new FormData(form)].filter(([, text]) => text.trim() !== "");
  return `${location.pathname}?${new URLSearchParams(fields)}`;
}

/** Ask for the assessment. A newer question cancels this one, so the last answer wins. */
async function ask() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const target = address();
  history.replaceState(null, "", target);
  document.querySelector("#answer").setAttribute("aria-busy", "true");
  try {
    const response = await fetch(target, { signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (signal.aborted) return;
    if (response.ok && page.querySelector("#answer")) showAnswer(page);
    else showProblem([...page.querySelectorAll("main h1, main p:not(.query)")].map((each) => each.textContent));
  } catch (error) {
    if (!signal.aborted) showProblem(["The console does not answer. Move the slider again, or reload the page."]);
  }
}

/** Show the answer in place of the one before. */
function showAnswer(page) {
  for (const part of PARTS) document.querySelector(part).replaceWith(page.querySelector(part));
  summary.replaceChildren(...page.querySelector("#summary").childNodes);
  problem.hidden = true;
}

/** Show what is wrong, and hide the answer, which belongs to other values. */
function showProblem(lines) {
  document.querySelector("#answer").hidden = true;
  summary.textContent = "No assessment for these values.";
  problem.replaceChildren(
    ...lines.map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }),
  );
  problem.hidden = false;
}

/** Move a slider to the value of its field; to the known value if the field is empty. */
function follow(slider, field) {
  const text = field.value.trim() || slider.dataset.known || slider.min;
  if (Number.isFinite(Number(text))) slider.value = text;
  slider.setAttribute("aria-valuetext", field.value.trim() || `as known: ${slider.dataset.text}`);
}

for (const slider of form.querySelectorAll("input[type=range]")) {
  const field = document.getElementById(slider.dataset.field);
  slider.addEventListener("input", () => {
    field.value = slider.value;
    follow(slider, field);
  });
  field.addEventListener("change", () => follow(slider, field));
  follow(slider, field);
  slider.hidden = false;
}

/** Ask after a moment without another change. */
function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(ask, WAIT_MS);
}

form.addEventListener("input", (event) => {
  if (event.target.type === "range") askSoon();
});
form.addEventListener("change", (event) => {
  if (/^(set|fact)\./.test(event.target.name)) askSoon();
});
