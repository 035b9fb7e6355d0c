"""Fuzz the decoding of images: ``make fuzz``.

``python -m tests.load.fuzzing MINUTES [FOLDER]`` damages files of every type, and those of the
folder, in the same ways in each run, and decodes each in a process of its own. A file is destroyed
if more than 5 % of its pixels are wrong, lost if nothing reads any of them. Of the destroyed, those
that pass are judged by d3-tiny. Exit code: 1 after any crash, or after a file that took too long or
too much memory.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
from PIL import Image, ImageFile

from detection.d3.errors import ImageError
from detection.d3.images import decode_image
from detection.d3.text_table import text_table
from tests.support.image_files import SAMPLES, encoded, sample_photograph

if TYPE_CHECKING:
    from detection.d3 import Detector

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "d3-tiny.safetensors"
SEED = 13
MAX_SECONDS = 10
MAX_BYTES = 1.5 * 2**30
MAX_DESTROYED = 0.05  # share of the pixels
CHANGED = 8  # levels of 255 by which a destroyed pixel is wrong
GROUP = 32  # pictures that are judged together


@dataclass
class Report:
    """The counts by type of file, and the failures, which must never occur."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    most_bytes: int = 0

    @property
    def total(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())

    def __str__(self) -> str:
        columns = ("tried", "destroyed", "lost", "judged", "certain")
        rows = [(name, *(str(counts[c]) for c in columns)) for name, counts in self.counts.items()]
        rows = [("", *columns), *rows, ("all", *(str(self.total[c]) for c in columns))]
        memory = f"slowest {self.slowest:.2f} s, most memory {self.most_bytes / 2**20:.0f} MiB"
        return "\n".join([text_table(rows), memory, *self.failures])


def corpus(folder: Path | None = None) -> dict[str, bytes]:
    """Return intact files by name: a photograph and a small drawing in every type."""
    photograph = sample_photograph()
    files = {f"small {name}": data for name, data in SAMPLES.items()}
    files |= {
        name: encoded(photograph, kind, **options)
        for name, (kind, options) in {
            "JPEG": ("JPEG", {"quality": 85}),
            "JPEG 4:4:4": ("JPEG", {"quality": 92, "subsampling": 0}),
            "JPEG with restarts": ("JPEG", {"restart_marker_rows": 4}),
            "progressive JPEG": ("JPEG", {"progressive": True}),
            "PNG": ("PNG", {}),
            "GIF": ("GIF", {}),
            "BMP": ("BMP", {}),
            "WEBP": ("WEBP", {}),
            "lossless WEBP": ("WEBP", {"lossless": True}),
            "TIFF": ("TIFF", {}),
            "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
            "Deflate TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
            "AVIF": ("AVIF", {}),
            "HEIC": ("HEIC", {}),
        }.items()
    }
    for path in sorted(folder.iterdir()) if folder else ():
        if path.is_file() and _is_decoded(path.read_bytes()):
            files[path.name] = path.read_bytes()
    return files


def mutants(files: dict[str, bytes], seed: int = SEED) -> Iterator[tuple[str, bytes]]:
    """Yield names and damaged files without end."""
    source = random.Random(seed)
    while True:
        for name, data in files.items():
            yield name, _mutated(data, source)


def fuzz(
    files: dict[str, bytes], *, count: int | None = None, seconds: float = float("inf")
) -> Report:
    """Decode ``count`` damaged files, or as many as there is time for."""
    report, waiting = Report(), []
    intact = {name: _pixels(data) for name, data in files.items()}
    end = time.monotonic() + seconds
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as judge:
        chosen = islice(mutants(files), count)
        for name, data in takewhile(lambda _: time.monotonic() < end, chosen):
            picture = _count(report, name, data, intact[name])
            if picture is not None:
                waiting.append((name, picture))
            if len(waiting) == GROUP:
                _judge(report, waiting, judge)
        _judge(report, waiting, judge)
    return report


def _judge(
    report: Report, waiting: list[tuple[str, np.ndarray]], judge: ProcessPoolExecutor
) -> None:
    names, pictures = [name for name, _ in waiting], [picture for _, picture in waiting]
    for name, is_certain in zip(names, judge.submit(_certain, pictures).result(), strict=True):
        report.counts[name]["certain"] += is_certain
    waiting.clear()


def _certain(pictures: list[np.ndarray]) -> list[bool]:
    """Return for each picture whether its verdict is certain."""
    verdicts = _detector().detect([Image.fromarray(picture) for picture in pictures])
    return [not verdict.uncertain for verdict in verdicts]


@cache
def _detector() -> Detector:
    from detection.d3 import Detector  # PyTorch takes memory; only the judging process needs it

    return Detector.from_checkpoint(CHECKPOINT)


def _count(report: Report, name: str, data: bytes, intact: np.ndarray) -> np.ndarray | None:
    """Count one file; return its pixels if they are destroyed and would be judged."""
    result, status, bytes_ = _in_child(data, intact)
    counts = report.counts[name]
    counts["tried"] += 1
    report.most_bytes = max(report.most_bytes, bytes_)
    if result is None:
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        kind = "took too long" if signalled == signal.SIGALRM else f"crashed ({status})"
        report.failures.append(f"{name}: {kind}, after {sum(report.total.values())} files")
        return None
    report.slowest = max(report.slowest, result["seconds"])
    if bytes_ > MAX_BYTES:
        report.failures.append(f"{name}: took {bytes_ / 2**20:.0f} MiB")
    counts["destroyed"] += result["destroyed"]
    counts["lost"] += result["lost"]
    counts["judged"] += result["picture"] is not None
    return result["picture"]


def _in_child(data: bytes, intact: np.ndarray) -> tuple[dict | None, int, int]:
    """Call ``_outcome`` in a process of its own. Return its result (None without one), its exit
    status, and the most bytes that it held beyond those shared with this process.
    """
    shared = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(MAX_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders report each wrong byte
        try:
            answer = pickle.dumps(_outcome(data, intact))
            with os.fdopen(writing, "wb") as stream:
                stream.write(answer)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status, usage = os.wait4(child, 0)
    taken = max(0, usage.ru_maxrss * 1024 - shared)
    return (pickle.loads(answer) if status == 0 else None), status, taken


def _outcome(data: bytes, intact: np.ndarray) -> dict:
    """Return the seconds of decoding, whether the pixels are destroyed or lost, and the destroyed
    pixels that would be judged without a notice of damage.
    """
    start = time.monotonic()
    try:
        image = decode_image(data)
    except ImageError:
        image = None
    seconds = time.monotonic() - start
    pixels = np.asarray(image.pixels) if image else _forgiving(data)
    destroyed = pixels is not None and _is_destroyed(pixels, intact)
    judged = destroyed and image is not None and not image.damaged
    return {
        "seconds": seconds,
        "destroyed": destroyed,
        "lost": pixels is None,
        "picture": pixels if judged else None,
    }


def _forgiving(data: bytes) -> np.ndarray | None:
    """Return the pixels that Pillow reads or invents, if any. Changes Pillow in this process."""
    pillow_heif.register_heif_opener()
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:
        return None


def _is_destroyed(pixels: np.ndarray, intact: np.ndarray) -> bool:
    if pixels.shape != intact.shape:
        return True
    wrong = np.abs(pixels.astype(np.int16) - intact).max(axis=2) > CHANGED
    return bool(wrong.mean() > MAX_DESTROYED)


def _is_decoded(data: bytes) -> bool:
    try:
        return decode_image(data) is not None
    except ImageError:
        return False


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data).pixels)


def _mutated(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    start = source.randrange(12, len(data))
    end = start + source.choice([16, 200, 1000, 4000])
    other = source.randrange(12, len(data))
    match source.choice(["bits", "cut", "mended", "zeros", "noise", "lost", "swap", "length"]):
        case "bits":
            for _ in range(source.choice([1, 3, 10])):
                changed[source.randrange(len(data))] ^= 1 << source.randrange(8)
        case "cut":
            del changed[start:]
        case "mended":  # cut, and ended as it was
            changed = changed[:start] + changed[-12:]
        case "zeros":
            changed[start:end] = bytes(len(changed[start:end]))
        case "noise":
            changed[start:end] = source.randbytes(len(changed[start:end]))
        case "lost":
            del changed[start:end]
        case "swap":
            here, there = changed[start:end], changed[other : other + end - start]
            changed[start:end] = there
            changed[other : other + end - start] = here
        case "length":  # most lengths stand near the start
            position = min(start, source.randrange(12, 1000))
            value = source.choice([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\1\0\0\0"])
            size = source.choice([1, 2, 4])
            changed[position : position + size] = value[:size]
    return bytes(changed)


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    report = fuzz(corpus(options.folder), seconds=60 * options.minutes)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
