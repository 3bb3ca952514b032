// Making elements. Text is only ever set as text: names come from whoever writes to the stream.

/** Longest name shown; the whole one is in the element's title. */
const LONGEST = 120;

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found as T;
}

export function element(tag: string, className = '', text = ''): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) setText(made, text);
  return made;
}

/** Sets text, cut when it is very long; touches the document only when it differs. */
export function setText(target: Element, text: string): void {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  if (target.textContent !== shown) target.textContent = shown;
  const title = shown === text ? '' : text;
  if ((target.getAttribute('title') ?? '') !== title) {
    if (title) target.setAttribute('title', title);
    else target.removeAttribute('title');
  }
}

export function setClass(target: Element, className: string): void {
  if (target.className !== className) target.className = className;
}

/** Has a container hold one child for each key, in order; children of known keys stay the same elements. */
export function reconcile<T>(
  container: Element,
  items: readonly T[],
  key: (item: T) => string,
  make: (item: T) => HTMLElement,
  fill: (child: HTMLElement, item: T) => void,
): void {
  const known = children.get(container) ?? new Map<string, HTMLElement>();
  const next = new Map<string, HTMLElement>();
  let place: Element | null = container.firstElementChild;
  for (const item of items) {
    const name = key(item);
    if (next.has(name)) continue;
    const child = known.get(name) ?? make(item);
    known.delete(name);
    next.set(name, child);
    fill(child, item);
    if (child === place) place = place.nextElementSibling;
    else container.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
  children.set(container, next);
}

const children = new WeakMap<Element, Map<string, HTMLElement>>();

/** A table's body: a row for each item, a cell for each text; `class` names of cells come from `classes`. */
export function fillTable<T>(
  table: HTMLTableElement,
  head: readonly string[],
  items: readonly T[],
  key: (item: T) => string,
  cells: (item: T) => readonly Cell[],
): void {
  const titles = table.tHead;
  const body = table.tBodies[0];
  if (!titles || !body) return;
  if (titles.dataset.head !== head.join('|')) {
    titles.dataset.head = head.join('|');
    const row = element('tr');
    for (const title of head) {
      const cell = element('th', '', title);
      cell.setAttribute('scope', 'col');
      row.append(cell);
    }
    titles.replaceChildren(row);
  }
  reconcile(body, items, key, () => element('tr'), (row, item) => {
    const wanted = cells(item);
    while (row.children.length > wanted.length) row.lastElementChild?.remove();
    while (row.children.length < wanted.length) row.append(element('td'));
    wanted.forEach((cell, index) => {
      const place = row.children[index];
      if (!place) return;
      setText(place, cell.text);
      setClass(place, cell.kind ?? '');
      if (cell.title && place.getAttribute('title') !== cell.title) place.setAttribute('title', cell.title);
    });
  });
}

export interface Cell {
  text: string;
  kind?: string;
  title?: string;
}
