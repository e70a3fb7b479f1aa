// Before the first paint: the colours that the reader chose, where a page may remember them.
"use strict";
try {
  const chosen = localStorage.getItem("medallion-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be denied to files; then the system's colours hold.
}
