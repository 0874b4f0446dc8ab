(async () => {
  const embedded = by("data");
  const token = decodeURIComponent(location.hash.slice(1));
  const fail = (text) => { by("problem").textContent = text; };

  let data;
  if (embedded) data = JSON.parse(embedded.textContent);
  else {
    const answer = await fetch("data", { headers: { "X-Token": token } });
    data = await answer.json();
    if (!answer.ok) { fail(data.error); return; }
  }
  const types = Object.keys(data.types);
  const decided = new Map(Object.entries(data.decided));
  const kept = `review ${data.reviewer} ${data.guideline_digest} ${data.items.map((item) => item.id).join(" ").slice(0, 500)}`;
  let made = []; // decisions of a page without a server
  if (embedded) {
    try { made = JSON.parse(localStorage.getItem(kept) || "[]"); } catch { made = []; }
    for (const row of made) row.action === "undo" ? decided.delete(row.id) : decided.set(row.id, row);
  }
  let at = Math.max(0, data.items.findIndex((item) => !decided.has(item.id)));
  let spans = [], chosen = -1, cursor = 0, anchor = null, keys = 0, began = 0, isBusy = false;
  const session = { began: performance.now(), count: 0 };
  const item = () => data.items[at];

  const key = (span) => JSON.stringify(span.slice(0, 3));
  const same = (a, b) => a.length === b.length && a.every((span) => b.some((other) => key(other) === key(span)));
  const open = (position) => {
    at = position;
    const before = decided.get(item().id);
    spans = (before && before.action !== "skip" ? before.spans : item().suggested).map((span) => [...span]);
    chosen = -1; cursor = 0; anchor = null; keys = 0; began = performance.now();
    fail("");
    draw();
    by("text").scrollTop = 0;
    by("text").focus({ preventScroll: true });
  };

  const selection = () => (anchor === null ? null : [Math.min(anchor, cursor), Math.max(anchor, cursor) + 1]);
  const drawTokens = (parent, start, end) => {
    const selected = selection();
    for (let index = start; index < end; index++) {
      if (index > start) parent.append(visible(item().gaps[index]));
      const isIn = selected && index >= selected[0] && index < selected[1];
      const element = make("span", `token${isIn || (!selected && index === cursor) ? " cursor" : ""}`, visible(item().tokens[index]));
      element.dataset.index = index;
      parent.append(element);
    }
  };
  const label = (span) => {
    const place = item().suggested.findIndex((other) => key(other) === key(span));
    const sure = place >= 0 && item().confidences[place] !== null ? ` ${Math.round(100 * item().confidences[place])}%` : "";
    return ` ${span[2]}${sure}`;
  };
  const draw = () => {
    const text = by("text");
    text.replaceChildren();
    spans.sort((a, b) => a[0] - b[0]);
    let index = 0;
    text.append(visible(item().gaps[0]));
    const gap = (position) => { if (position > 0) text.append(visible(item().gaps[position])); };
    const inText = data.per_token ? spans : [];
    for (const [number, span] of inText.entries()) {
      if (index < span[0]) { gap(index); drawTokens(text, index, span[0]); }
      gap(span[0]);
      const mark = make("mark", number === chosen ? "chosen" : "");
      drawTokens(mark, span[0], span[1]);
      mark.append(make("sub", "", label(span)));
      mark.addEventListener("click", () => { if (getSelection().isCollapsed) { chosen = number; draw(); } });
      text.append(mark);
      index = span[1];
    }
    if (index < item().tokens.length) { gap(index); drawTokens(text, index, item().tokens.length); }
    text.append(visible(item().gaps[item().tokens.length]));
    for (const [number, button] of [...by("types").children].entries()) {
      const isOn = data.per_token ? chosen >= 0 && spans[chosen][2] === types[number] : spans.some((s) => s[2] === types[number]);
      button.setAttribute("aria-pressed", String(isOn));
    }
    const done = data.items.filter((each) => decided.has(each.id)).length;
    const hours = (performance.now() - session.began) / 3.6e6;
    const pace = session.count > 1 ? ` · ${Math.round(session.count / hours)} an hour` : "";
    by("progress").max = data.items.length;
    by("progress").value = done;
    const state = decided.has(item().id) ? ` · this one: ${decided.get(item().id).action}` : "";
    by("status").textContent = `${done} of ${data.items.length} decided${pace}${state}`;
    by("where").textContent = `${at + 1}: ${item().id}${item().document ? `, ${item().document}` : ""}`;
    by("why").textContent = `suggested by the ${item().source}: ${item().reason}`;
  };

  const type = (number) => {
    const name = types[number];
    if (name === undefined) return;
    keys++;
    if (!data.per_token) {
      const isOn = spans.some((span) => span[2] === name);
      if (data.several) spans = isOn ? spans.filter((span) => span[2] !== name) : [...spans, [null, null, name]];
      else spans = [[null, null, name]];
    } else if (chosen >= 0) spans[chosen] = [spans[chosen][0], spans[chosen][1], name];
    else {
      const [start, end] = selection() || [cursor, cursor + 1];
      spans = spans.filter((span) => span[1] <= start || span[0] >= end);
      spans.push([start, end, name]);
      anchor = null;
    }
    getSelection().removeAllRanges();
    draw();
  };
  const remove = () => {
    keys++;
    if (!data.per_token) spans = [];
    else if (chosen >= 0) spans.splice(chosen, 1);
    else spans = spans.filter((span) => span[1] <= cursor || span[0] > cursor);
    chosen = -1;
    draw();
  };

  const store = async (action) => {
    const row = { id: item().id, action, spans, seconds: Math.round((performance.now() - began) / 100) / 10, keys };
    if (embedded) {
      made.push({ ...row, document: item().document, text: item().text_digest, reviewer: data.reviewer,
        at: new Date().toISOString().replace(/\.\d+/, ""), suggested: item().suggested, source: item().source,
        guideline: data.guideline_digest });
      try { localStorage.setItem(kept, JSON.stringify(made)); } catch { fail("Nothing can be kept in this browser: save often."); }
      return true;
    }
    try {
      const answer = await fetch("decisions", { method: "POST", headers: { "X-Token": token }, body: JSON.stringify(row) });
      if (answer.ok) return true;
      fail(`NOT stored: ${(await answer.json()).error}`);
    } catch { fail("NOT stored: the server does not answer. Start it again with the same command; nothing stored is lost."); }
    return false;
  };
  const next = () => {
    const later = data.items.findIndex((each, position) => position > at && !decided.has(each.id));
    const any = later >= 0 ? later : data.items.findIndex((each) => !decided.has(each.id));
    if (any >= 0) open(any);
    else { draw(); by("status").textContent = `All ${data.items.length} are decided. Thank you.`; }
  };
  const decide = async (action) => {
    if (isBusy) return;
    if (action !== "skip" && !data.per_token && !data.several && spans.length !== 1) { fail("Choose one class first."); return; }
    keys++;
    isBusy = true;
    try {
      const kind = action === "skip" ? "skip" : same(spans, item().suggested) ? "accept" : "correct";
      if (!(await store(kind))) return;
      decided.delete(item().id);  // the latest decision comes last
      decided.set(item().id, { action: kind, spans: spans.map((span) => [...span]) });
      session.count++;
      next();
    } finally { isBusy = false; }
  };
  const undo = async () => {
    if (isBusy) return;
    const order = [...decided.keys()];
    const last = order.length ? data.items.findIndex((each) => each.id === order[order.length - 1]) : -1;
    if (last < 0) return;
    isBusy = true;
    try {
      const shown = decided.get(data.items[last].id);
      at = last;
      spans = shown.spans;
      if (await store("undo")) { decided.delete(item().id); open(last); spans = shown.action === "skip" ? spans : shown.spans; draw(); }
    } finally { isBusy = false; }
  };

  types.forEach((name, number) => {
    const button = make("button", "", name);
    if (number < 9) button.append(" ", make("kbd", "", String(number + 1)));
    button.type = "button";
    button.addEventListener("mousedown", (event) => event.preventDefault()); // the selection stays
    button.addEventListener("click", () => { take(); type(number); });
    by("types").append(button);
    by("meanings").append(make("dt", "", name), make("dd", "", data.types[name]));
  });
  // A selection by mouse, as words.
  const take = () => {
    const range = getSelection();
    if (range.isCollapsed || !by("text").contains(range.anchorNode)) return;
    const words = [...by("text").querySelectorAll(".token")].filter((element) => range.containsNode(element, true));
    if (!words.length) return;
    anchor = Number(words[0].dataset.index);
    cursor = Number(words[words.length - 1].dataset.index);
    chosen = -1;
  };
  by("text").addEventListener("mouseup", take);
  by("text").addEventListener("click", (event) => {
    const index = event.target.dataset.index;
    if (index === undefined || !getSelection().isCollapsed || event.target.closest("mark")) return;
    cursor = Number(index); anchor = null; chosen = -1;
    draw();
  });
  by("accept").addEventListener("click", () => decide("accept"));
  by("skip").addEventListener("click", () => decide("skip"));
  by("undo").addEventListener("click", undo);
  by("clear").addEventListener("click", remove);
  by("reset").addEventListener("click", () => { keys++; spans = item().suggested.map((span) => [...span]); chosen = -1; draw(); });
  if (by("save")) by("save").addEventListener("click", () => {
    const lines = made.map((row) => JSON.stringify(row) + "\n");
    const link = make("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    link.download = `decisions-${data.reviewer}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  const move = (step, isSelecting) => {
    if (isSelecting && anchor === null) anchor = cursor;
    if (!isSelecting) anchor = null;
    cursor = Math.min(item().tokens.length - 1, Math.max(0, cursor + step));
    chosen = -1;
    draw();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const inText = document.activeElement === by("text") || document.activeElement === document.body;
    const pressed = event.key;
    if (/^[1-9]$/.test(pressed)) { take(); type(Number(pressed) - 1); }
    else if (pressed === "Enter" && inText) decide("accept");
    else if (pressed === "s") decide("skip");
    else if (pressed === "u") undo();
    else if (pressed === "x" || pressed === "Delete") remove();
    else if (pressed === "r") by("reset").click();
    else if (pressed === "ArrowRight" || pressed === "ArrowLeft") { keys++; move(pressed === "ArrowRight" ? 1 : -1, event.shiftKey); }
    else if (pressed === "Tab" && inText && !event.shiftKey && data.per_token && chosen < spans.length - 1) { keys++; chosen++; draw(); }
    else return;
    event.preventDefault();
  });
  by("name").textContent = `Review of ${data.name}, by ${data.reviewer}`;
  by("guideline").textContent = data.guideline || "There is none: task.guidelines of the run is empty.";
  if (data.items.length) open(at);
  else by("status").textContent = "There is nothing to review.";
})();
