from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from django.core.management import CommandError

from detection.d3 import Detector
from detection.d3.errors import D3Error
from detection.judging.active_detector import get_detector
from detection.models import Prediction
from detection.workbench import benchmark
from detection.workbench.benchmark import STAGES, Benchmark, measure, table
from detection.workbench.speed import operations
from tests.support.api import assert_nothing_stored
from tests.support.checkpoints import a_clip, saved, untrained
from tests.support.commands import printed_by
from tests.support.published_layouts import CLIP, HEAD

stateless = pytest.mark.stateless
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.cpu_kind,
    pytest.mark.usefixtures("tiny_checkpoint"),
]

SIZES = ["1", "8", "32"]


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch):
    """Repeat each measurement as rarely as possible."""
    monkeypatch.setattr(benchmark, "SECONDS", 0.001)
    monkeypatch.setattr(benchmark, "ROUNDS", 1)
    monkeypatch.setattr("detection.workbench.speed.PEAK_SECONDS", 0.001)
    monkeypatch.setattr("detection.workbench.speed.PEAK_SIDES", {"cpu": (64,)})


def numbers(**changes) -> Benchmark:
    result = Benchmark(
        model="d3-test",
        version="1",
        device="cpu",
        precision="bf16",
        cores=2,
        picture="JPEG",
        stages=dict.fromkeys(STAGES, 2.0),
        plain_stages=dict.fromkeys(STAGES, 6.0),
        engine={"1": 10.0, "8": 20.0, "32": 16.0},
        service={"1": 5.0, "8": 12.0, "32": 9.0},
        plain=4.0,
        cores_busy=0.9,
        image_gflop=3.0,
        peak_gflops=100.0,
        share_of_peak=0.6,
        provenance={"without manifest": 0.4, "with manifest": 7.5},
        memory_mib=300.0,
    )
    return replace(result, **changes)


def test_every_number_is_measured_and_nothing_is_left(stored_files):
    found = json.loads(printed_by("benchmark", json=True))

    assert found["model"] == "d3-test"
    assert found["device"] == "cpu"
    assert [*found["stages"]] == [*found["plain_stages"]] == list(STAGES)
    assert [*found["engine"]] == [*found["service"]] == SIZES
    assert [*found["provenance"]] == ["without manifest", "with manifest"]
    for name in ("stages", "plain_stages", "engine", "service", "provenance"):
        assert all(number > 0 for number in found[name].values())
    for name in (
        "plain",
        "cores_busy",
        "image_gflop",
        "peak_gflops",
        "share_of_peak",
        "memory_mib",
    ):
        assert found[name] > 0
    assert found["gpu_memory_mib"] is None
    assert_nothing_stored(stored_files)


def test_nothing_is_left_after_an_error(stored_files, monkeypatch):
    detector = get_detector()
    service = benchmark._service

    def broken(*args) -> None:
        service(*args)
        assert Prediction.objects.exists()
        raise D3Error("The network gave no finite number.")

    monkeypatch.setattr(benchmark, "_service", broken)

    with pytest.raises(D3Error):
        measure(detector)

    assert_nothing_stored(stored_files)


def test_nothing_is_left_after_sigterm(stored_files, monkeypatch):
    service = benchmark._service

    def ended(*args) -> None:
        service(*args)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(benchmark, "_service", ended)

    with pytest.raises(CommandError, match="Interrupted"):
        printed_by("benchmark")

    assert_nothing_stored(stored_files)


@stateless
def test_attention_is_among_the_operations(monkeypatch):
    detector = Detector.from_checkpoint(HEAD, clip_weights=CLIP, device="cpu", precision="fp32")
    views = detector.prepare(benchmark.Image.new("RGB", (64, 64)))
    counted = operations(detector, views)
    products = []

    def skipped_attention(query, key, value):
        products.append(4 * query.numel() * key.shape[2])  # queries by keys, weights by values
        return query

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", skipped_attention)

    assert counted - operations(detector, views) == sum(products)


def read_early(folder: Path) -> Detector:
    """Return a detector whose CLIP tower is read after several blocks."""
    checkpoint = untrained(a_clip(patch_size=8), crops={"max_crops": 3})
    path = saved(checkpoint, folder / "read-early.safetensors")
    return Detector.from_checkpoint(path, precision="fp32")


@stateless
@pytest.mark.parametrize("make", [lambda _: get_detector(), read_early], ids=["tiny", "clip"])
def test_the_plain_way_gives_the_same_score(tmp_path, make):
    detector = make(tmp_path)
    views = detector.prepare(benchmark.Image.linear_gradient("L").convert("RGB"))

    assert benchmark.plain_score(detector, views) == pytest.approx(
        detector.scores([views])[0], abs=1e-6
    )


@stateless
def test_ratios_are_against_the_plain_way():
    result = numbers()

    assert result.times_plain == 12 / 4
    assert result.model_times_plain == 6 / 2


@stateless
def test_the_share_is_the_best_batch_against_the_peak_of_the_same_round(monkeypatch):
    speeds = {1: [2.0, 20.0, 3.0], 8: [4.0, 10.0, 5.0], 32: [3.0, 15.0, 4.0]}
    peaks = [100e9, 1000e9, 50e9]  # of a machine that is slow, fast and slow again
    monkeypatch.setattr(benchmark, "ROUNDS", 3)
    monkeypatch.setattr(benchmark, "operations", lambda *_: 10e9)
    monkeypatch.setattr(benchmark, "matrix_peak", lambda *_: peaks.pop(0))
    monkeypatch.setattr(
        benchmark, "images_per_second", lambda _, views, seconds: speeds[len(views)].pop(0)
    )

    result = measure(get_detector())

    assert result.share_of_peak == pytest.approx(0.4)  # of 0.4, 0.2 and 1.0
    assert result.peak_gflops == pytest.approx(100)
    assert result.engine == {"1": 3.0, "8": 5.0, "32": 4.0}


@stateless
@pytest.mark.parametrize(("most_seconds", "turns"), [(0.0001, [1, 8, 32]), (3600, [1, 8, 32] * 3)])
def test_a_batch_size_that_took_long_has_no_further_round(monkeypatch, most_seconds, turns):
    taken = []
    service = benchmark._service

    def noted(bench, size, images) -> tuple[float, float]:
        taken.append(size)
        return service(bench, size, images)

    monkeypatch.setattr(benchmark, "_service", noted)
    monkeypatch.setattr(benchmark, "ROUNDS", 3)
    monkeypatch.setattr(benchmark, "MAX_SECONDS", most_seconds)

    result = measure(get_detector())

    assert taken == turns
    assert [*result.engine] == [*result.service] == SIZES


@stateless
def test_ratios_against_an_earlier_run_say_how_many_times_as_fast(tmp_path):
    earlier = tmp_path / "earlier.json"
    slower = numbers(stages=dict.fromkeys(STAGES, 5.0), service={"1": 2.5, "8": 4.0, "32": 4.5})
    earlier.write_text(benchmark.as_json(slower))

    previous = benchmark.read_previous(earlier)

    times = numbers().times(previous)
    assert times["stages"] == dict.fromkeys(STAGES, 2.5)
    assert times["engine"] == dict.fromkeys(SIZES, 1.0)
    assert times["service"] == {"1": 2.0, "8": 3.0, "32": 2.0}
    [line] = [
        line for line in table(numbers(), previous).splitlines() if "service, batch 8" in line
    ]
    assert line.split() == ["service,", "batch", "8", "4.00", "12.00", "3.00×", "4.00", "3.00×"]
    assert json.loads(benchmark.as_json(numbers(), previous))["times_previous"] == times


@stateless
def test_the_table_has_every_stage_and_batch():
    lines = printed_by("benchmark").splitlines()

    assert lines[0].startswith("d3-test ")
    for name in (*STAGES, *(f"{key}, batch {n}" for key in ("engine", "service") for n in SIZES)):
        assert any(line.startswith(name) for line in lines), name


@stateless
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stages": {"read": "fast"}}'])
def test_a_file_of_something_else_is_refused_as_previous_numbers(tmp_path, text):
    path = tmp_path / "numbers.json"
    path.write_text(text)

    with pytest.raises(CommandError, match=r"was not written by benchmark --json\.$"):
        printed_by("benchmark", previous=path)


@stateless
def test_a_missing_checkpoint_or_device_is_one_sentence(tmp_path):
    with pytest.raises(CommandError, match="no such file"):
        printed_by("benchmark", checkpoint=Path(tmp_path / "missing.safetensors"))
    with pytest.raises(CommandError, match="no such GPU"):
        printed_by("benchmark", device="cuda:99")


@pytest.mark.usefixtures("lost_database")
def test_without_a_database_the_command_says_so():
    with pytest.raises(CommandError, match="database"):
        printed_by("benchmark")
