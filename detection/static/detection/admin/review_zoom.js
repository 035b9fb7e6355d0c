// One zoom for all pictures. Places are fractions of the judged picture, 0 to 1 from its upper left
// corner, so that all panels show the same place, whatever their resolution.

const STEP = 1.5;
const CLOSEST = 32; // at most so many screen pixels for a pixel of the picture
const VISIBLE_PIXELS = 3; // from so many screen pixels for a pixel on, edges are drawn sharp
const NUDGE = 0.15; // share of the visible part that one key press moves

export function zoomTogether(pictures) {
  const size = { x: Number(pictures.dataset.width), y: Number(pictures.dataset.height) };
  const stages = [...pictures.querySelectorAll(".stage")];
  const panels = [...pictures.querySelectorAll(".stage > img")].map((image) => ({
    image,
    // Place of the judged picture in this one: a result has a band below it.
    left: Number(image.dataset.left ?? 0),
    width: Number(image.dataset.width ?? 1),
    height: Number(image.dataset.height ?? 1),
  }));
  // The area that all pictures cover together
  const start = { x: Math.min(...panels.map((panel) => -panel.left / panel.width)), y: 0 };
  const end = {
    x: Math.max(...panels.map((panel) => (1 - panel.left) / panel.width)),
    y: Math.max(...panels.map((panel) => 1 / panel.height)),
  };
  const view = { zoom: 1, x: 0.5, y: 0.5 };
  const output = pictures.querySelector("output");

  const extent = (axis) => (end[axis] - start[axis]) * size[axis];
  const room = () => ({ x: stages[0].clientWidth, y: stages[0].clientHeight });
  const fit = () => Math.min(room().x / extent("x"), room().y / extent("y"));
  const scale = () => fit() * view.zoom;

  function clamp(axis) {
    const half = room()[axis] / scale() / size[axis] / 2;
    const [least, most] = [start[axis] + half, end[axis] - half];
    const middle = (start[axis] + end[axis]) / 2;
    return least < most ? Math.min(Math.max(view[axis], least), most) : middle;
  }

  function draw() {
    view.x = clamp("x");
    view.y = clamp("y");
    const across = size.x * scale();
    const down = size.y * scale();
    for (const { image, left, width, height } of panels) {
      image.style.width = `${across / width}px`;
      image.style.height = `${down / height}px`;
      image.style.left = `${room().x / 2 - (view.x + left / width) * across}px`;
      image.style.top = `${room().y / 2 - view.y * down}px`;
      image.classList.toggle("pixels", scale() >= VISIBLE_PIXELS);
    }
    pictures.classList.toggle("zoomed", view.zoom > 1);
    output.textContent = `${Math.round(100 * scale())} %`;
  }

  // Zoom around a point of a stage, which is measured from the middle in screen pixels.
  function zoomTo(zoom, point = { x: 0, y: 0 }) {
    const before = scale();
    const least = Math.min(1, 1 / fit());
    view.zoom = Math.min(Math.max(zoom, least), Math.max(1, CLOSEST / fit()));
    for (const axis of ["x", "y"]) {
      view[axis] += (point[axis] / size[axis]) * (1 / before - 1 / scale());
    }
    draw();
  }

  function move(x, y) {
    view.x -= x / scale() / size.x;
    view.y -= y / scale() / size.y;
    draw();
  }

  function fromMiddle(event, stage) {
    const box = stage.getBoundingClientRect();
    return {
      x: event.clientX - box.left - box.width / 2,
      y: event.clientY - box.top - box.height / 2,
    };
  }

  const buttons = {
    in: () => zoomTo(view.zoom * STEP),
    out: () => zoomTo(Math.max(view.zoom / STEP, Math.min(view.zoom, 1))),
    fit: () => zoomTo(1),
    pixels: () => zoomTo(1 / fit()),
  };
  for (const button of pictures.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", buttons[button.dataset.zoom]);
  }

  document.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!(event.key in way) || event.target.matches("textarea, input, select")) return;
    event.preventDefault();
    const [x, y] = way[event.key];
    move(x * NUDGE * room().x, y * NUDGE * room().y);
  });

  for (const stage of stages) {
    const fingers = new Map(); // pointers that are down, by id
    const distance = () => {
      const [one, other] = fingers.values();
      return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    };
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomTo(view.zoom * Math.exp(-event.deltaY / 400), fromMiddle(event, stage));
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => {
      if (view.zoom > 1) zoomTo(1);
      else zoomTo(Math.max(1 / fit(), STEP ** 2), fromMiddle(event, stage));
    });
    stage.addEventListener("dragstart", (event) => event.preventDefault());
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest("a")) return;
      fingers.set(event.pointerId, event);
      if (view.zoom > 1) stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const apart = fingers.size === 2 ? distance() : 0;
      fingers.set(event.pointerId, event);
      if (apart) zoomTo((view.zoom * distance()) / apart, fromMiddle(event, stage));
      else if (view.zoom > 1) move(event.clientX - before.clientX, event.clientY - before.clientY);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    stage.style.aspectRatio = `${extent("x")} / ${extent("y")}`;
  }

  pictures.classList.add("live");
  pictures.querySelector(".zoom").hidden = false;
  new ResizeObserver(draw).observe(pictures);
  draw();
}
