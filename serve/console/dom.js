// Elements by id, and new ones. Whatever a server says goes in as text, never as markup.
export const $ = (id) => document.getElementById(id);

export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function text(id, words) {
  const node = $(id);
  if (node.textContent !== words) node.textContent = words;
}

export function show(id, shown) {
  $(id).hidden = !shown;
}

// Make the children of `parent` those of `items`, in order; what is there already stays, with its focus and open details.
export function keyed(parent, items, key, make) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    const former = there.get(id);
    const state = JSON.stringify(item);
    let node = former;
    if (!former || former.dataset.state !== state) {
      node = make(item, former);
      node.dataset.key = id;
      node.dataset.state = state;
    }
    there.delete(id);
    if (former && former !== node) {
      if (at === former) at = node;
      former.replaceWith(node);
    }
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const gone of there.values()) gone.remove();
}

// Colours of the style sheet as a canvas takes them; they change with the theme.
export function colours(...names) {
  const probe = el("span", { class: "vh" });
  document.body.append(probe);
  const found = names.map((name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}
