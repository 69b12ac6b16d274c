// The dashboard's own script. Each page works without it: it only saves a page load, keeps ages fresh and says when the link is lost.
// It never makes markup from text: nodes are built one by one, as the Trusted Types policy demands.
(() => {
  "use strict";
  const $ = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Stop panel: opened by its link; focus goes in, Escape and Cancel bring it back.
  const panel = () => $("#halt");
  const shown = () => panel()?.matches(":target, .open") && !panel().classList.contains("shut");
  const tell = () => $("#stop")?.setAttribute("aria-expanded", String(Boolean(shown())));
  const open = () => {
    const halt = panel();
    if (!halt) return false;
    halt.classList.remove("shut");
    halt.classList.add("open");
    $("input[name=scope]:checked", halt)?.focus();
    tell();
    return true;
  };
  const close = () => {
    const halt = panel();
    if (!halt) return;
    halt.classList.remove("open");
    halt.classList.add("shut");
    if (location.hash === "#halt") history.replaceState(null, "", location.pathname + location.search);
    tell();
    $("#stop")?.focus();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    if (link.getAttribute("href") === "#halt" && open()) event.preventDefault();
    if (link.closest("#halt") && link.getAttribute("href") === "#top") {
      event.preventDefault();
      close();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown()) close();
  });
  const name = () => {
    for (const kind of ["server", "tool", "client"]) {
      const chosen = $(`#halt select[name=${kind}]`)?.value;
      const word = $(`#halt .stop .${kind} em`);
      if (chosen && word) word.textContent = chosen;
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.closest("#halt")) name();
    if (event.target.matches("[data-filters] select")) event.target.form.requestSubmit();
  });

  // What is stopped: the server sends the banner, this keeps tab title and icon in step with it.
  const dress = () => {
    const stopped = $("#banner [data-stopped]")?.dataset.stopped === "true";
    const plain = document.title.replace(/^STOPPED · /, "");
    document.title = stopped ? `STOPPED · ${plain}` : plain;
    const icon = $("#icon");
    if (icon) icon.href = stopped ? icon.dataset.stopped : icon.dataset.ready;
  };
  document.addEventListener("htmx:after:swap", () => {
    dress();
    copyButtons();
    trim();
  });
  document.addEventListener("htmx:after:request", (event) => {
    const form = event.target.closest?.("#halt form");
    if (form && event.detail?.ctx?.response?.raw?.ok) close();
  });

  // Overview and kill page show what is stopped in their content too; nothing is taken from somebody who types.
  document.addEventListener("kill", () => {
    const typed = all("#main input:not([type=hidden]), #main textarea").some((field) => field.value !== field.defaultValue);
    if (["/", "/kill"].includes(location.pathname) && !typed && !document.activeElement?.closest("#main form")) {
      htmx.ajax("GET", location.pathname + location.search, { source: "#main", target: "#main", select: "#main", swap: "outerHTML" });
    }
  });

  // The stream: ten seconds of silence means that this page may be old.
  let heard = Date.now();
  const hear = () => {
    heard = Date.now();
    $("#lost")?.remove();
  };
  const icon = (id) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    svg.setAttribute("class", "i");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#i-${id}`);
    svg.append(use);
    return svg;
  };
  const node = (tag, text, className = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const lose = () => {
    if ($("#lost") || document.hidden || !$("#live")) return;
    const since = new Date(heard).toISOString().slice(11, 19);
    const lost = node("div", "", "banner warn");
    lost.id = "lost";
    const say = node("span", "This page may be old. Proxies fail closed when their lease ends. Stop from the host: ");
    say.append(node("code", "lifeboat kill engage"));
    lost.append(icon("warn"), node("b", `No control link since ${since}`), say);
    $("#banner")?.append(lost);
  };
  for (const name of ["htmx:sse:before:message", "htmx:sse:after:connection"]) document.addEventListener(name, hear);
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail?.status === 401) location.reload();
  });
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });
  setInterval(() => { if (Date.now() - heard > 10000) lose(); }, 1000);

  // Live rows: pause counts what is left out; no more than 200 stay.
  let paused = false;
  let missed = 0;
  const pause = $("#pause");
  const trim = () => {
    const rows = all("#rows > tr");
    rows.slice(200).forEach((row) => row.remove());
    if (rows.length) $("#no-rows")?.remove();
  };
  if (pause) {
    pause.hidden = false;
    $("#live-state span").textContent = "Live";
    pause.addEventListener("click", () => {
      if (paused) return location.reload();
      paused = true;
      pause.setAttribute("aria-pressed", "true");
      $("span", pause).textContent = "Show new";
      $("#live-state span").textContent = "Paused";
    });
  }
  document.addEventListener("htmx:sse:before:message", (event) => {
    const message = event.detail?.message;
    if (!paused || !message || message.event) return;
    event.preventDefault();
    missed += (message.data.match(/<tr[ >]/g) || []).length;
    $("#live-state span").textContent = `Paused, ${missed} new`;
  });

  // Copy buttons, where text can be copied at all.
  function copyButtons() {
    if (!navigator.clipboard) return;
    for (const head of all(".code > header")) {
      if ($("button", head)) continue;
      const button = node("button", "", "btn quiet sm");
      button.type = "button";
      button.append(icon("copy"), node("span", "Copy"));
      const label = head.textContent.trim();
      button.setAttribute("aria-label", `Copy: ${label}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText($("pre", head.parentElement).textContent);
        $("span", button).textContent = "Copied";
      });
      head.append(button);
    }
  }

  // Ages that were true when the page was made.
  const units = [[172800, 86400, "days"], [7200, 3600, "h"], [120, 60, "min"], [5, 1, "s"]];
  const age = () => {
    for (const time of all("time[data-ago]")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      const unit = units.find(([least]) => seconds >= least);
      time.textContent = unit ? `${Math.floor(seconds / unit[1])} ${unit[2]} ago` : "now";
    }
  };
  setInterval(age, 10000);

  if (location.hash === "#halt") open();
  name();
  tell();
  dress();
  copyButtons();
})();
