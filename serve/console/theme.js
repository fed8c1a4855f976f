// Before the first paint: the theme that was chosen here last, else the system's.
try {
  const chosen = localStorage.getItem("vigil-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* a browser that keeps nothing */ }
