"use strict";

const table = document.getElementById("findings");

function sortBy(button) {
  const column = button.dataset.sort;
  const falls = button.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll(".head button")) other.removeAttribute("aria-sort");
  button.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const number = (text) => (text === "inf" ? Infinity : text === "" ? NaN : Number(text));
  const order = (a, b) => {
    const [left, right] = [a, b].map((row) => row.dataset[column]);
    const [x, y] = [number(left), number(right)];
    if (left === "" || right === "") return (left === "") - (right === "");
    const rising = Number.isNaN(x) || Number.isNaN(y) ? left.localeCompare(right) : x === y ? 0 : x - y;
    return falls ? -rising : rising;
  };
  table.append(...[...table.querySelectorAll(".finding")].sort(order));
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // A page from a disk may not be allowed to.
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "copied";
}

document.addEventListener("click", (event) => {
  if (event.target.matches("[data-sort]")) sortBy(event.target);
  if (event.target.matches(".copy")) copy(event.target);
});
