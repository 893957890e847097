"use strict";
// Draws the page's figures: each when it comes near the screen, in the colours of the reader's scheme.
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Kept, because Chromium sends no event about a change if somebody reads `dark.matches` before the event.
  let theme = themes[dark.matches ? "dark" : "light"];
  // On a touch screen a finger that moves over a figure scrolls the page.
  const fixed = matchMedia("(pointer: coarse)").matches ? { dragmode: false } : {};
  const boxes = [...document.querySelectorAll(".draw")];

  function draw(box) {
    if (box.dataset.drawn) return;
    box.dataset.drawn = "yes";
    const figure = JSON.parse(document.getElementById(box.id + "-spec").textContent);
    Plotly.newPlot(box, figure.data, { ...figure.layout, ...fixed, template: theme }, {
      displaylogo: false, displayModeBar: false, responsive: true,
    });
  }

  const near = new IntersectionObserver(seen => {
    for (const one of seen) if (one.isIntersecting) { near.unobserve(one.target); draw(one.target); }
  }, { rootMargin: "600px" });
  boxes.forEach(box => near.observe(box));
  dark.addEventListener("change", event => {
    theme = themes[event.matches ? "dark" : "light"];
    for (const box of boxes) if (box.dataset.drawn) Plotly.relayout(box, { template: theme });
  });
  addEventListener("beforeprint", () => boxes.forEach(draw));
})();
