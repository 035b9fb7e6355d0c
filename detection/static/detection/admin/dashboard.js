// Draws charts from the tables of the page: a canvas names its table, its columns and its kind of
// chart. Charts are not animated. FAKE is hatched, so that colour is not the only difference from REAL.

const HATCH = 8; // pixels
const ROW_HEIGHT = 30; // pixels, of a horizontal bar
const AXIS_HEIGHT = 40; // pixels

// The kinds of charts. "most" is the end of the scale of numbers.
const KINDS = {
  stacked: { type: "bar", stacked: true },
  columns: { type: "bar" },
  bars: { type: "bar", horizontal: true },
  share: { type: "line", most: 100 },
  intervals: { type: "bar", horizontal: true, most: 100 },
};

function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    real: colour("--verdict-real"),
    fake: hatched(colour("--verdict-fake"), colour("--body-bg")),
    share: colour("--verdict-fake"),
    text: colour("--body-fg"),
    plain: colour("--body-quiet-color"),
    grid: colour("--border-color"),
  };
}

function hatched(colour, gap) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = HATCH;
  const pen = tile.getContext("2d");
  pen.fillStyle = colour;
  pen.fillRect(0, 0, HATCH, HATCH);
  pen.strokeStyle = gap;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const shift of [-HATCH, 0, HATCH]) {
    pen.moveTo(shift, HATCH);
    pen.lineTo(shift + HATCH, 0);
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}

// {labels: of the rows, series: [{key, name, cells: one a row}]}
function read(table, keys) {
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  return {
    labels: rows.map((row) => row.cells[0].textContent),
    series: keys.map((key) => {
      const column = heads.findIndex((head) => head.dataset.series === key);
      const cells = rows.map((row) => row.cells[column]);
      return { key, name: heads[column].textContent, cells };
    }),
  };
}

// Returns null for a dash, which is drawn as nothing.
function numberIn(cell) {
  const value = Number.parseFloat(cell.textContent);
  return Number.isNaN(value) ? null : value;
}

function numbers({ labels, series }, colours) {
  const datasets = series.map(({ key, name, cells }) => ({
    label: name,
    data: cells.map(numberIn),
    backgroundColor: colours[key] ?? colours.plain,
    borderColor: colours[key] ?? colours.plain,
  }));
  return { labels, datasets };
}

// One bar from the lower to the upper bound for each row and series
function bounds({ labels, series }, colours) {
  const shown = labels.flatMap((label, row) =>
    series
      .filter(({ cells }) => cells[row]?.dataset.low)
      .map(({ name, cells }) => ({ label: [name, label], cell: cells[row] })),
  );
  return {
    labels: shown.map(({ label }) => label),
    datasets: [
      {
        data: shown.map(({ cell }) => [Number(cell.dataset.low), Number(cell.dataset.high)]),
        values: shown.map(({ cell }) => numberIn(cell)),
        backgroundColor: colours.real,
        maxBarThickness: 14,
      },
    ],
  };
}

// A stroke across each interval, where the value is
const VALUES = {
  id: "values",
  afterDatasetsDraw(chart) {
    const { values } = chart.data.datasets[0];
    const pen = chart.ctx;
    pen.save();
    pen.fillStyle = chart.options.color;
    chart.getDatasetMeta(0).data.forEach((bar, index) => {
      pen.fillRect(chart.scales.x.getPixelForValue(values[index]) - 1.5, bar.y - 11, 3, 22);
    });
    pen.restore();
  },
};

function tooltip({ dataset, dataIndex, formattedValue }) {
  if (!dataset.values) return `${dataset.label}: ${formattedValue}`;
  const [low, high] = dataset.data[dataIndex];
  return `${dataset.values[dataIndex]} %, interval ${low}–${high} %`;
}

function options({ horizontal, stacked, most }, colours) {
  const places = {
    stacked,
    grid: { display: false },
    ticks: { color: colours.text, maxRotation: 0, autoSkip: !horizontal, autoSkipPadding: 16 },
  };
  const amounts = {
    stacked,
    beginAtZero: true,
    max: most,
    grid: { color: colours.grid },
    ticks: { color: colours.text, precision: 0, maxTicksLimit: 8 },
  };
  return {
    animation: false,
    maintainAspectRatio: false,
    color: colours.text,
    indexAxis: horizontal ? "y" : "x",
    interaction: { mode: "index", axis: horizontal ? "y" : "x", intersect: false },
    datasets: { bar: { maxBarThickness: 28 }, line: { borderWidth: 2, pointRadius: 2.5 } },
    scales: horizontal ? { x: amounts, y: places } : { x: places, y: amounts },
    plugins: { legend: { display: Boolean(stacked) }, tooltip: { callbacks: { label: tooltip } } },
  };
}

function draw(canvas, colours) {
  const kind = KINDS[canvas.dataset.kind];
  const table = document.getElementById(canvas.dataset.table);
  const shown = read(table, canvas.dataset.series.split(" "));
  const intervals = canvas.dataset.kind === "intervals";
  const data = intervals ? bounds(shown, colours) : numbers(shown, colours);
  canvas.closest("figure").hidden = false;
  if (kind.horizontal) {
    const height = AXIS_HEIGHT + ROW_HEIGHT * data.labels.length * (intervals ? 1.4 : 1);
    canvas.parentElement.style.height = `${height}px`;
  }
  const plugins = intervals ? [VALUES] : [];
  return new Chart(canvas, { type: kind.type, data, options: options(kind, colours), plugins });
}

let charts = [];

function drawAll() {
  charts.forEach((chart) => chart.destroy());
  const colours = palette();
  charts = [...document.querySelectorAll("canvas[data-kind]")].map((canvas) => draw(canvas, colours));
}

drawAll();
// Light or dark, as the system or the button above says
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
