"use strict";
// Draws the charts in the colours of the page, again whenever those change, and on paper in those of paper.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 560px)");
  const PAPER = { width: 660, height: 300, autosize: false }; // px
  const config = () => ({
    responsive: true, displayModeBar: narrow.matches ? false : "hover", displaylogo: false, showLink: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  });

  function themed(layout) {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const clear = "rgba(0,0,0,0)";
    const out = structuredClone(layout);
    const small = narrow.matches && !root.classList.contains("paper");
    out.paper_bgcolor = clear;
    out.plot_bgcolor = clear;
    out.font = { color: colour("--ink"), family: "system-ui, 'Segoe UI', 'Liberation Sans', sans-serif", size: small ? 11 : 13 };
    out.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") }, align: "left" };
    out.margin = small ? { l: 52, r: 12, t: 34, b: 44 } : { l: 70, r: 24, t: 34, b: 52 };
    out.modebar = { bgcolor: clear, color: colour("--soft"), activecolor: colour("--ink") };
    out.legend = { bgcolor: clear, ...out.legend };
    for (const name of Object.keys(out).filter((key) => /^[xy]axis\d*$/.test(key))) {
      out[name] = {
        gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true, fixedrange: small,
        ...out[name],
      };
    }
    if (small && out.coloraxis) {
      out.coloraxis.colorbar = { ...out.coloraxis.colorbar, orientation: "h", y: 1.02, yanchor: "bottom", len: 1, thickness: 8, title: { text: "used", side: "right" } };
      out.margin.t = 84;
      for (const note of out.annotations) note.yshift = 0;
    }
    return out;
  }

  function draw(size) {
    for (const [name, figure] of Object.entries(figures)) {
      const place = document.getElementById("chart-" + name);
      place.style.height = (size ? size.height : place.dataset.height) + "px";
      Plotly.react(place, figure.data, { ...themed(figure.layout), ...size }, config());
    }
  }

  function toPaper() {
    root.classList.add("paper");
    draw(PAPER);
  }
  function toScreen() {
    root.classList.remove("paper");
    draw();
  }

  draw();
  dark.addEventListener("change", () => draw());
  narrow.addEventListener("change", () => draw());
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  root.dataset.drawn = String(Object.keys(figures).length);
})();
