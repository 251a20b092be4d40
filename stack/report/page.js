"use strict";
(function () {
  const figure = JSON.parse(document.getElementById("figure-data").textContent);
  const place = document.getElementById("figure");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const axes = Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key));

  // The page's own colours, so that the figure follows them from light to dark.
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const change = {
      "font.color": colour("ink"),
      "font.family": getComputedStyle(document.body).fontFamily,
      "hoverlabel.bgcolor": colour("panel"),
      "hoverlabel.bordercolor": colour("rule"),
      "hoverlabel.font.color": colour("ink"),
    };
    for (const axis of axes) {
      change[axis + ".gridcolor"] = colour("rule");
      change[axis + ".linecolor"] = colour("rule");
      change[axis + ".zeroline"] = false;
      change[axis + ".spikecolor"] = colour("quiet");
    }
    return change;
  }

  const buttons = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"];
  const config = { displaylogo: false, responsive: true, modeBarButtons: [buttons] };
  Plotly.newPlot(place, figure.data, figure.layout, config)
    .then(() => Plotly.relayout(place, theme()))
    .then(() => {
      dark.addEventListener("change", () => Plotly.relayout(place, theme()));
      place.dataset.height = document.documentElement.scrollHeight;
      place.dataset.drawn = "true";
    });
})();
