for (const plot of document.querySelectorAll("svg[data-stops]")) {
  const stops = JSON.parse(plot.dataset.stops);
  const cursor = plot.querySelector(".cursor");
  const readout = plot.parentElement.querySelector(".readout");
  let current = -1;

  function show(number) {
    current = Math.max(0, Math.min(stops.length - 1, number));
    const [place, text] = stops[current];
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.setAttribute("visibility", "visible");
    readout.textContent = text;
  }

  function hide() {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = "";
  }

  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
    const distances = stops.map(([place]) => Math.abs(place - x));
    show(distances.indexOf(Math.min(...distances)));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", event => {
    const next = {ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: stops.length - 1}[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
}
