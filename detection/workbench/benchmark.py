"""Measure how fast an image gets from its file to its record, stage by stage.

File storage, database and model are the configured ones. All records and files are deleted
afterwards.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from timeit import repeat

import numpy as np
import torch
from django.core.management import CommandError
from PIL import Image

from detection.d3 import Detector
from detection.d3.files import reason
from detection.d3.images import decode_image
from detection.d3.text_table import text_table
from detection.errors import database_errors
from detection.judging import (
    DirectKeeper,
    Job,
    Run,
    Upload,
    draw_result,
    fitted,
    inspect_upload,
    predict_images,
)
from detection.management.interrupts import StopSignals
from detection.models import Prediction, PredictionBatch, Source
from detection.records import ImageScore, delete_with_files, open_batch
from detection.workbench.signing import TRAINED, a_signer
from detection.workbench.speed import images_per_second, matrix_peak, operations, plain_score

BATCHES = (1, 8, 32)
SIDE = 512  # of the pictures, in pixels
STAGES = ("read", "decode", "preprocess", "model", "render", "store", "record")
SECONDS = 4.0  # for each measurement, approximately
PROVENANCE_ROUNDS = 20
ROUNDS = 4  # of all measurements in turn, so that other processes disturb all equally
MAX_SECONDS = 12.0  # for a batch size; after that a slow model has no further round

Numbers = dict[str, dict[str, float]]
Lap = dict[str, float]  # the seconds of each stage of one image
Judge = Callable[[Detector, torch.Tensor], float]


@dataclass(slots=True)
class Benchmark:
    """The numbers of one run, as medians over the rounds.

    ``stages`` are milliseconds for one image. ``engine`` and ``service`` are images per second by
    batch size: ``engine`` of the model alone, ``service`` of all stages. ``plain`` is images per
    second in the plain way: one stage after the other, in fp32, with one pass for each view.
    """

    model: str
    version: str
    device: str
    precision: str
    cores: int
    picture: str
    stages: dict[str, float] = field(default_factory=dict)
    plain_stages: dict[str, float] = field(default_factory=dict)
    engine: dict[str, float] = field(default_factory=dict)
    service: dict[str, float] = field(default_factory=dict)
    plain: float = 0.0
    cores_busy: float = 0.0
    image_gflop: float = 0.0
    peak_gflops: float = 0.0
    share_of_peak: float = 0.0
    provenance: dict[str, float] = field(default_factory=dict)  # milliseconds for one image
    memory_mib: float = 0.0
    gpu_memory_mib: float | None = None

    @property
    def times_plain(self) -> float:
        """The ratio of the service's best speed to the plain way."""
        return max(self.service.values()) / self.plain

    @property
    def model_times_plain(self) -> float:
        """The ratio of the model's speed to the plain way, for one image."""
        return self.plain_stages["model"] / self.stages["model"]

    def times(self, previous: Numbers) -> Numbers:
        """Return the speed relative to the ``previous`` numbers."""
        faster = {name: before / self.stages[name] for name, before in previous["stages"].items()}
        rates = {
            key: {size: getattr(self, key)[size] / rate for size, rate in previous[key].items()}
            for key in ("engine", "service")
        }
        return {"stages": faster, **rates}


def measure(detector: Detector) -> Benchmark:
    """Run the benchmark. Raises D3Error, and UnavailableError if storage or database is down."""
    device = torch.device(detector.info.device)
    result = Benchmark(
        model=detector.info.name,
        version=detector.info.version,
        device=str(device),
        precision=detector.info.precision,
        cores=torch.get_num_threads(),
        picture=f"JPEG, {SIDE}×{SIDE} pixels",
    )
    with TemporaryDirectory() as folder, _records() as batch:
        bench = _Bench(detector, batch, Path(folder))
        views = detector.prepare(bench.picture())
        detector.logits([views])  # the first pass is slower than the later ones
        result.image_gflop = operations(detector, views) / 1e9
        _measure_in_turns(result, bench)
        result.provenance = _provenance(bench)
    result.memory_mib = _peak_memory()
    if device.type == "cuda":
        result.gpu_memory_mib = torch.cuda.max_memory_allocated(device) / 2**20
    return result


@dataclass(slots=True)
class _Bench:
    """What all measurements need.

    Each picture is a new one, because the service reuses the scores of known bytes.
    """

    detector: Detector
    batch: PredictionBatch
    folder: Path
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    pictures: int = 0

    def picture(self) -> Path:
        coarse = self.random.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
        image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        self.pictures += 1
        path = self.folder / f"{self.pictures}.jpg"
        image.save(path, quality=90)
        return path


def _measure_in_turns(result: Benchmark, bench: _Bench) -> None:
    seconds = SECONDS / ROUNDS
    plain_laps: list[Lap] = []
    laps: list[Lap] = []
    peaks: list[float] = []
    shares: list[float] = []
    sizes = [_BatchSize(size) for size in BATCHES]
    for _ in range(ROUNDS):
        remaining = [size for size in sizes if size.spent < MAX_SECONDS]
        if not remaining:
            break
        plain_laps += _serial(plain_score, bench, seconds)
        laps += _serial(lambda detector, views: detector.scores([views])[0], bench, seconds)
        peaks.append(matrix_peak(torch.device(result.device), result.precision) / 1e9)
        for size in remaining:
            size.measure(bench, seconds)
        fastest = max(size.engine[-1] for size in remaining)
        shares.append(fastest * result.image_gflop / peaks[-1])  # of the same round
    result.plain_stages, result.stages = _medians(plain_laps), _medians(laps)
    result.plain = 1000 / sum(result.plain_stages.values())
    result.peak_gflops, result.share_of_peak = median(peaks), median(shares)
    result.engine = {str(size.images): median(size.engine) for size in sizes}
    result.service = {str(size.images): median(size.service) for size in sizes}
    result.cores_busy = max(max(size.busy) for size in sizes) / result.cores


@dataclass(slots=True)
class _BatchSize:
    """The measurements with ``images`` images at a time, round by round."""

    images: int
    engine: list[float] = field(default_factory=list)
    service: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    spent: float = 0.0

    def measure(self, bench: _Bench, seconds: float) -> None:
        """Measure engine and service for about ``seconds`` each, with at least one batch."""
        start = time.perf_counter()
        views = [bench.detector.prepare(bench.picture())] * self.images
        self.engine.append(images_per_second(bench.detector, views, seconds))
        enough = max(self.images, round(self.engine[-1] * seconds))
        rate, busy = _service(bench, self.images, enough)
        self.service.append(rate)
        self.busy.append(busy)
        self.spent += time.perf_counter() - start


def _medians(laps: list[Lap]) -> dict[str, float]:
    """Return the median milliseconds of each stage."""
    return {stage: 1000 * median(each[stage] for each in laps) for stage in STAGES}


def _provenance(bench: _Bench) -> dict[str, float]:
    """Return the median milliseconds to inspect a picture, with a manifest and without."""
    plain = bench.picture().read_bytes()
    created = {"action": "c2pa.created", "digitalSourceType": TRAINED}
    assertion = {"label": "c2pa.actions", "data": {"actions": [created]}}
    signed = a_signer().sign(plain, {"assertions": [assertion]})
    times = {}
    for name, data in (("without manifest", plain), ("with manifest", signed)):
        inspect_upload(data)  # the first manifest starts the helper
        laps = repeat(partial(inspect_upload, data), number=1, repeat=PROVENANCE_ROUNDS)
        times[name] = 1000 * median(laps)
    return times


@contextmanager
def _records() -> Iterator[PredictionBatch]:
    """Open a batch for all records; at the end delete the batch, its records and its files."""
    batch = open_batch(total_images=0, source=Source.SCAN)
    try:
        yield batch
    finally:
        with StopSignals() as stop:
            stop.ignore()
            _delete(batch)


def _delete(batch: PredictionBatch) -> None:
    with database_errors():
        predictions = [*Prediction.objects.filter(batch=batch)]
    for prediction in predictions:
        delete_with_files([prediction])
    with database_errors():
        batch.delete()


def _serial(judge: Judge, bench: _Bench, seconds: float) -> list[Lap]:
    """Judge single images one after the other, for ``seconds``."""
    laps: list[Lap] = []
    while sum(sum(each.values()) for each in laps) < seconds:
        laps.append(_stages(judge, bench, bench.picture()))
    return laps


def _stages(judge: Judge, bench: _Bench, path: Path) -> Lap:
    detector, batch = bench.detector, bench.batch
    times = [time.perf_counter()]

    def lap() -> None:
        times.append(time.perf_counter())

    data = path.read_bytes()
    lap()
    image = decode_image(data)
    lap()
    views = detector.prepare(image.pixels)
    lap()
    score = judge(detector, views)
    lap()
    verdict = detector.verdict(score)
    drawn = draw_result(
        fitted(image.pixels), label=verdict.label, score=score, uncertain=verdict.uncertain
    )
    lap()
    keeper = DirectKeeper(batch)
    run = Run(detector=detector, source=Source.SCAN, batch=batch, keeper=keeper)
    job = Job(0, Upload(path.name, data), image=image)
    job.prediction = run.build_prediction(job, ImageScore(score))
    keeper.store_files(job, drawn)
    lap()
    keeper.write([job])
    lap()
    return {stage: end - start for stage, (start, end) in zip(STAGES, pairwise(times), strict=True)}


def _service(bench: _Bench, size: int, images: int) -> tuple[float, float]:
    """Return the service's images per second in batches of ``size``, and the busy cores."""
    paths = [bench.picture() for _ in range(images)]
    uploads = (Upload(filename=path.name, data=path) for path in paths)
    start, cpu_start = time.perf_counter(), time.process_time()
    outcomes = predict_images(
        uploads=uploads,
        source=Source.SCAN,
        batch=bench.batch,
        batch_size=size,
        detector=bench.detector,
    )
    with closing(outcomes):
        for _ in outcomes:
            pass
    took = time.perf_counter() - start
    return images / took, (time.process_time() - cpu_start) / took


def _peak_memory() -> float:
    """Return the peak memory of the process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def read_previous(path: Path) -> Numbers:
    """Read the output of an earlier ``benchmark --json``. Raises CommandError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: {name: float(found[key][name]) for name in names} for key, names in _COMPARED}
    except OSError as error:
        raise CommandError(f"The numbers {path} cannot be read: {reason(error)}.") from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise CommandError(f"The file {path} was not written by benchmark --json.") from error


_SIZES = tuple(map(str, BATCHES))
_COMPARED = (("stages", STAGES), ("engine", _SIZES), ("service", _SIZES))


def as_json(result: Benchmark, previous: Numbers | None = None) -> str:
    """Return the numbers as JSON, for people and for ``read_previous``, with the ratios."""
    ratios = ("times_plain", "model_times_plain")
    numbers = {**asdict(result), **{name: getattr(result, name) for name in ratios}}
    if previous:
        numbers["times_previous"] = result.times(previous)
    return json.dumps(numbers, indent=2, ensure_ascii=False)


def table(result: Benchmark, previous: Numbers | None = None) -> str:
    """Return the result as text, with the speed relative to ``previous`` numbers, if given."""
    earlier = previous or {"stages": {}, "engine": {}, "service": {}}
    columns = ("plain", "now", "ratio", "previous", "ratio")
    stages = [("Milliseconds for one image", *columns)]
    for name in STAGES:
        plain, took = result.plain_stages[name], result.stages[name]
        before = earlier["stages"].get(name)
        stages.append(_row(name, plain, took, before, lower_is_better=True))
    rates = [("Images per second", *columns)]
    for key in ("engine", "service"):
        plain = 1000 / result.plain_stages["model"] if key == "engine" else result.plain
        for size, rate in getattr(result, key).items():
            before = earlier[key].get(size)
            rates.append(_row(f"{key}, batch {size}", plain, rate, before))
    gpu = "" if result.gpu_memory_mib is None else f", on the GPU {result.gpu_memory_mib:.0f} MiB"
    return f"""\
{result.model} {result.version}, {result.precision} on {result.device}, \
{result.cores} cores; {result.picture}

{text_table(stages)}

{text_table(rates)}

Operations of the model: {result.image_gflop:.2f} GFLOP an image
Fastest matrix product:  {result.peak_gflops:.0f} GFLOP/s in {result.precision}
Share of that speed:     {result.share_of_peak:.0%} by the fastest batch size
Provenance of an image:  {result.provenance["without manifest"]:.2f} ms, \
{result.provenance["with manifest"]:.1f} ms with a signed manifest
Cores busy:              {result.cores_busy:.0%}
Peak memory:             {result.memory_mib:.0f} MiB{gpu}"""


def _row(
    name: str, plain: float, number: float, before: float | None, *, lower_is_better: bool = False
) -> tuple[str, ...]:
    def ratio(other: float) -> str:
        return f"{other / number if lower_is_better else number / other:.2f}×"

    last = ("", "") if before is None else (f"{before:.2f}", ratio(before))
    return name, f"{plain:.2f}", f"{number:.2f}", ratio(plain), *last
