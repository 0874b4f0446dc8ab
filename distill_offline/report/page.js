(() => {
  const data = JSON.parse(document.getElementById("sentences").textContent);
  const PAGE = 50, LONGEST = 3000;
  const words = (kind) => kind.replace(/_/g, " ");
  let page = 0, matches = [];

  const differs = (row, reading) => (row.kinds[reading] || []).length > 0;
  const isWanted = () => {
    const text = by("search").value.toLowerCase(), type = by("type").value, kind = by("kind").value;
    const reading = by("reading").value, doc = by("document").value, most = Number(by("confidence").value) / 100;
    const readings = reading ? [reading] : data.readings.filter((name) => name !== "gold");
    return (row) => {
      if (doc && row.document !== doc) return false;
      if (text && ![row.text, row.id, row.document].some((said) => (said || "").toLowerCase().includes(text))) return false;
      if (kind === "any" && !readings.some((name) => differs(row, name))) return false;
      if (kind && kind !== "any" && !readings.some((name) => (row.kinds[name] || []).includes(kind))) return false;
      const spans = ["gold", ...readings].flatMap((name) => row.readings[name] || []);
      if (type && !spans.some((span) => span[2] === type)) return false;
      if (most < 1 && !readings.some((name) => (row.readings[name] || []).some((s) => s[3] !== null && s[3] <= most)))
        return false;
      return true;
    };
  };

  const drawText = (line, text, spans) => {
    let at = 0;
    const beside = [];
    const isLong = text.length > LONGEST;
    const shown = isLong ? text.slice(0, LONGEST) : text;
    for (const span of [...spans].sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
      if (span[0] === null || span[0] < at || span[1] > shown.length) { beside.push(span); continue; }
      line.append(visible(shown.slice(at, span[0])));
      line.append(mark(span, visible(shown.slice(span[0], span[1]))));
      at = span[1];
    }
    line.append(visible(shown.slice(at)));
    if (isLong) line.append(make("span", "note", ` … ${text.length - LONGEST} more characters`));
    for (const span of beside) {
      line.append(" ", mark(span, span[0] === null ? "" : visible(text.slice(span[0], Math.min(span[1], span[0] + 80)))));
    }
  };
  const mark = (span, text) => {
    const [, , type, confidence, kind] = span;
    const element = make("mark", kind || "right");
    const bdi = make("bdi", "", text);
    const sure = confidence === null ? "" : ` ${Math.round(100 * confidence)}%`;
    element.append(bdi, make("sub", "", ` ${type}${sure}${kind && kind !== "right" ? " · " + words(kind) : ""}`));
    return element;
  };

  const drawRow = (row) => {
    const article = make("article");
    const head = make("h3", "", row.id);
    if (row.document) head.append(make("span", "note", ` ${row.document}`));
    article.append(head);
    for (const name of data.readings) {
      const spans = row.readings[name];
      const line = make("p", "reading");
      line.append(make("b", "", name));
      const text = make("span");
      text.dir = "auto";
      line.append(text);
      if (spans === undefined || spans === null) text.append(make("i", "note", row.absent[name] || "no answer"));
      else if (row.text === null) text.append(make("i", "note", "its text cannot be read any more"));
      else drawText(text, row.text, spans);
      if (name !== "gold" && differs(row, name)) line.classList.add("differs");
      article.append(line);
    }
    for (const [mention, reason] of row.rejected || [])
      article.append(make("p", "note", `rejected: “${visible(mention)}” (${words(reason)})`));
    return article;
  };

  const draw = () => {
    const list = by("list");
    const from = page * PAGE, shown = matches.slice(from, from + PAGE);
    list.replaceChildren(...shown.map(drawRow));
    by("count").textContent = matches.length
      ? `${from + 1} to ${from + shown.length} of ${matches.length} sentences` : "No sentence is like that.";
    by("back").disabled = page === 0;
    by("next").disabled = from + PAGE >= matches.length;
  };
  const filter = () => {
    const wanted = isWanted();
    by("confidence-shown").textContent = `${by("confidence").value}%`;
    matches = data.rows.filter(wanted);
    page = 0;
    draw();
  };
  const turn = (by_) => {
    const last = Math.max(0, Math.ceil(matches.length / PAGE) - 1);
    page = Math.min(last, Math.max(0, page + by_));
    draw();
    by("browser").scrollIntoView();
  };
  const fill = (id, values) => values.forEach((value) => by(id).append(new Option(words(value), value)));
  fill("type", data.types);
  fill("kind", data.kinds);
  data.readings.filter((name) => name !== "gold").forEach((name) => by("reading").append(new Option(name, name)));
  data.documents.slice(0, 500).forEach((name) => by("document").append(new Option(name, name)));
  let waiting = 0;
  by("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
  for (const id of ["type", "kind", "reading", "document", "confidence"]) by(id).addEventListener("input", filter);
  by("back").addEventListener("click", () => turn(-1));
  by("next").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
    if (event.key === "n") turn(1);
    else if (event.key === "p") turn(-1);
    else if (event.key === "/") { event.preventDefault(); by("search").focus(); }
  });
  by("browser").hidden = false;
  filter();
})();
