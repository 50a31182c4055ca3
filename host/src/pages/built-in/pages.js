// What makes pages quicker to use. Everything works without it.
"use strict";

// A complete code goes off by itself, once for each value: one that was refused is not tried again, and what
// is on its way is not sent twice.
for (const input of document.querySelectorAll("input[data-digits]")) {
  let sent = input.dataset.tried;
  input.addEventListener("input", (event) => {
    const digits = input.value.replace(/[\s-]/g, "");
    const complete = /^\d+$/.test(digits) && digits.length === Number(input.dataset.digits);
    if (!complete || digits === sent || event.isComposing) return;
    sent = digits;
    input.form.requestSubmit();
  });
}

// A second click changes nothing.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sending) event.preventDefault();
    form.dataset.sending = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sending]")) delete form.dataset.sending;
});

// Times by the clock of whoever reads them.
const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
for (const time of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(time.dateTime);
  if (!Number.isNaN(moment.getTime())) time.textContent = format.format(moment);
}

// Passwords can be looked at while they are typed.
for (const input of document.querySelectorAll("input[data-reveal]")) {
  const button = document.querySelector(`button[data-reveals="${input.id}"]`);
  if (!button) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    input.focus();
  });
  input.form.addEventListener("submit", () => { input.type = "password"; });
}

// What stands in an element, to the clipboard or into a file.
const done = (button) => {
  const before = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = before; }, 2000);
};
const text = (button) => {
  const source = document.getElementById(button.dataset.copies || button.dataset.saves);
  return source.dataset.text || [...source.children].map((line) => line.textContent.trim()).join("\n") + "\n";
};
for (const button of document.querySelectorAll("button[data-copies]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", () => navigator.clipboard.writeText(text(button)).then(() => done(button)));
}
for (const button of document.querySelectorAll("button[data-saves]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text(button)], { type: "text/plain" }));
    link.download = button.dataset.file;
    link.click();
    URL.revokeObjectURL(link.href);
    done(button);
  });
}
