(() => {
  const byText = new Intl.Collator(undefined, {numeric: true});
  document.querySelectorAll("table.sortable").forEach(table => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const first = head.classList.contains("num") ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = row => row.cells[column].dataset.sort;
      const number = head.classList.contains("num");
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const left = value(a), right = value(b);
        if (left === "" || right === "") return (left === "") - (right === "");
        return sign * (number ? Number(left) - Number(right) : byText.compare(left, right));
      });
      table.tBodies[0].append(...rows);
    }));
  });
  document.querySelectorAll("table.sortable").forEach(table => {
    const rows = [...table.tBodies[0].rows], name = table.caption.textContent.trim();
    const tools = document.createElement("div");
    tools.className = "tools";
    if (rows.length > 5) {
      const field = document.createElement("input");
      field.type = "search";
      field.placeholder = "Filter rows";
      field.setAttribute("aria-label", `Filter rows: ${name}`);
      field.addEventListener("input", () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        rows.forEach(row => {
          const text = row.textContent.toLowerCase();
          row.hidden = !words.every(word => text.includes(word));
        });
      });
      tools.append(field);
    }
    const copy = document.createElement("button");
    copy.type = "button";
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", `Copy: ${name}`);
    copy.addEventListener("click", async () => {
      const seen = [...table.rows].filter(row => !row.hidden);
      const text = seen.map(row => [...row.cells].map(cell => cell.textContent.trim()).join("\t")).join("\n");
      try { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; }
      catch {
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        copy.textContent = document.execCommand("copy") ? "Copied" : "Not allowed by the browser";
        area.remove();
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
    tools.append(copy);
    table.parentElement.before(tools);
  });
  const dialog = document.querySelector("dialog");
  document.querySelectorAll(".enlarge").forEach(button => button.addEventListener("click", () => {
    const small = button.firstElementChild, large = dialog.firstElementChild;
    large.src = small.src; large.alt = small.alt;
    dialog.style.setProperty("--wide", small.naturalWidth * 1.5 + "px");
    dialog.showModal();
  }));
  dialog.addEventListener("click", () => dialog.close());
  const links = new Map([...document.querySelectorAll("nav a")].map(link => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver(entries => entries.forEach(entry => {
      if (!entry.isIntersecting) return;
      links.forEach(link => link.classList.remove("here"));
      const link = links.get(entry.target.id);
      link.classList.add("here");
    }), {rootMargin: "-10% 0px -75% 0px"});
    document.querySelectorAll("section[id]").forEach(section => seen.observe(section));
  }
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
  // words are printed, folded tables are files already
  addEventListener("beforeprint", () =>
    document.querySelectorAll(".words, .found details, #methods details").forEach(each => { each.open = true; }));
})();
