/* What pages are nicer with, and work without: copy buttons, boxes that choose all rows, previews while somebody types. */
"use strict";

(() => {
  /* Copy buttons: <div data-copy="Copy"><code>text</code></div> */

  const selected = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      selected(code); /* without TLS browsers keep the clipboard to themselves: Ctrl+C is one key away */
      return false;
    }
  };

  for (const box of document.querySelectorAll("[data-copy]")) {
    const code = box.querySelector("code, pre, textarea");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = box.dataset.copy || "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      const text = button.textContent;
      button.textContent = (await copy(code)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = text; }, 2000);
    });
    box.append(button);
  }

  /* One box for all rows: <input type="checkbox" data-all="ids" hidden> chooses every box of that name. */

  for (const all of document.querySelectorAll("[data-all]")) {
    const boxes = [...document.querySelectorAll(`input[type="checkbox"][name="${CSS.escape(all.dataset.all)}"]`)];
    const refresh = () => {
      const count = boxes.filter((box) => box.checked).length;
      all.checked = count > 0 && count === boxes.length;
      all.indeterminate = count > 0 && count < boxes.length;
    };
    all.hidden = false;
    all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; });
    for (const box of boxes) box.addEventListener("change", refresh);
    refresh();
  }

  /* The entry of this page is to be seen in a navigation that is longer than the window. */

  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest" });

  /* Previews: <form data-live="/x/preview" data-into="id"> posts itself there after a pause and takes #id of the answer. */

  const preview = async (form, waiting) => {
    const fields = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.dataset.live, { method: "POST", body: fields, signal: waiting.signal });
    if (!answer.ok && answer.status !== 422) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const made = page.getElementById(form.dataset.into);
    if (made) document.getElementById(form.dataset.into)?.replaceWith(made);
  };

  for (const form of document.querySelectorAll("form[data-live]")) {
    let timer = 0;
    let waiting = new AbortController();
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        waiting.abort();
        waiting = new AbortController();
        preview(form, waiting).catch(() => {}); /* the next key tries again */
      }, 400);
    });
  }

  /* A form is sent once, however often its button is pressed. */

  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
      setTimeout(() => { delete form.dataset.sent; }, 4000);
    });
  }
  addEventListener("pageshow", () => { for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent; });
})();
