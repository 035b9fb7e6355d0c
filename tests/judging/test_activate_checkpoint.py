from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import torch

from detection.checks import check_model_checkpoint
from detection.d3 import Detector
from detection.d3.checkpoints import load, save
from detection.judging import active_detector
from detection.judging.active_detector import ActiveDetector, load_and_try_detector
from detection.judging.checkpoint_choice import active_checkpoint, choice_state
from tests.support.commands import failure_of, printed_by
from tests.support.factories import image_bytes
from tests.support.failures import raising
from tests.support.installation import Installation
from tests.support.threads import at_once
from tests.support.waiting import eventually

pytestmark = [pytest.mark.own_servers, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture(autouse=True)
def choice(settings, tmp_path) -> Path:
    """The file of the choice. Each test has its own, which does not exist at first."""
    settings.ACTIVE_CHECKPOINT_FILE = tmp_path / "active_checkpoint"
    return settings.ACTIVE_CHECKPOINT_FILE


@pytest.fixture
def other_checkpoint(tiny_checkpoint, tmp_path) -> Path:
    """The same network with slightly larger weights."""
    return variant(tiny_checkpoint, tmp_path / "other.safetensors", name="d3-other")


@pytest.fixture
def fresh_detector() -> ActiveDetector:
    """The detector of a new process, not loaded yet."""
    return ActiveDetector()


def variant(source: Path, path: Path, *, name: str, change: float = 1e-3) -> Path:
    checkpoint = load(source)
    weights = {
        key: tensor + change if tensor.is_floating_point() else tensor
        for key, tensor in checkpoint.weights.items()
    }
    save(replace(checkpoint, name=name, weights=weights), path)
    return path


def run(*arguments: str | Path) -> str:
    return printed_by("activate_checkpoint", *arguments)


def refused(*arguments: str | Path) -> str:
    return failure_of("activate_checkpoint", *arguments).sentence


def test_the_configured_checkpoint_is_active_until_another_is_activated(
    tiny_checkpoint, other_checkpoint
):
    assert active_checkpoint() == tiny_checkpoint

    printed = run(other_checkpoint)

    assert active_checkpoint() == other_checkpoint
    version = load(other_checkpoint).version
    assert printed.startswith(f"d3-other {version} of {other_checkpoint} is active, with the ")
    run("--configured")
    assert active_checkpoint() == tiny_checkpoint
    run("--configured")  # once more is no error


def test_a_relative_path_is_stored_as_an_absolute_one(other_checkpoint, monkeypatch, choice):
    monkeypatch.chdir(other_checkpoint.parent)

    run(other_checkpoint.name)

    assert choice.read_text() == f"{other_checkpoint}\n"


def test_a_path_and_the_configured_checkpoint_exclude_each_other(other_checkpoint):
    assert "required" in refused()
    assert "not allowed" in refused(other_checkpoint, "--configured")


def no_numbers(tiny_checkpoint: Path, path: Path) -> None:
    variant(tiny_checkpoint, path, name="broken", change=float("nan"))


def half(tiny_checkpoint: Path, path: Path) -> None:
    content = tiny_checkpoint.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def text(tiny_checkpoint: Path, path: Path) -> None:
    path.write_text("no checkpoint")


@pytest.mark.parametrize("make", [no_numbers, half, text, lambda *paths: None])
def test_an_unusable_checkpoint_is_refused_and_nothing_changes(
    tiny_checkpoint, other_checkpoint, tmp_path, choice, make
):
    run(other_checkpoint)
    before = choice.read_bytes(), choice_state()
    make(tiny_checkpoint, tmp_path / "broken.safetensors")

    sentence = refused(tmp_path / "broken.safetensors")

    assert sentence.endswith((".", "fp32 may help."))
    assert (choice.read_bytes(), choice_state()) == before
    assert list(tmp_path.glob(".*")) == []


def test_a_choice_that_cannot_be_written_is_reported_in_one_sentence(
    settings, tmp_path, other_checkpoint
):
    (tmp_path / "file").write_text("")
    settings.ACTIVE_CHECKPOINT_FILE = tmp_path / "file" / "active_checkpoint"

    assert "cannot be written: not a directory." in refused(other_checkpoint)


def test_a_choice_without_a_path_is_an_error(choice, fresh_detector):
    choice.write_text("\n")

    [error] = check_model_checkpoint()

    assert error.id == "detection.E001"
    assert f"{choice} names no checkpoint." in error.msg


def test_a_missing_active_checkpoint_is_an_error_with_the_remedy(other_checkpoint):
    run(other_checkpoint)
    assert [*check_model_checkpoint()] == []
    other_checkpoint.unlink()

    [error] = check_model_checkpoint()

    assert error.id == "detection.E001"
    assert f"There is no checkpoint at {other_checkpoint}." in error.msg
    assert "activate_checkpoint --configured" in error.hint


def test_a_process_loads_the_new_checkpoint_at_its_next_use(fresh_detector, other_checkpoint):
    old = fresh_detector.detector
    run(other_checkpoint)

    fresh_detector.detector  # noqa: B018  notices the choice

    assert eventually(lambda: fresh_detector.detector.info.name == "d3-other")
    assert old.info.name == "d3-test"  # earlier users still have it
    run("--configured")
    assert eventually(lambda: fresh_detector.detector.info.name == "d3-test")


def test_the_old_checkpoint_is_used_while_one_thread_loads_the_new_one(
    fresh_detector, other_checkpoint, monkeypatch
):
    may_load, loads = threading.Event(), []

    def slow(path: Path) -> Detector:
        loads.append(path)
        may_load.wait(10)
        return load_and_try_detector(path)

    old = fresh_detector.detector
    run(other_checkpoint)
    monkeypatch.setattr(active_detector, "load_and_try_detector", slow)

    assert at_once(lambda active: active.detector, [fresh_detector] * 8) == [old] * 8
    assert fresh_detector.detector is old
    may_load.set()

    assert eventually(lambda: fresh_detector.detector is not old)
    assert loads == [other_checkpoint]


def test_a_missing_file_is_tried_once_and_the_old_checkpoint_stays(
    fresh_detector, other_checkpoint, tiny_checkpoint, caplog
):
    old = fresh_detector.detector
    run(other_checkpoint)
    content = other_checkpoint.read_bytes()
    other_checkpoint.unlink()

    fresh_detector.detector  # noqa: B018  notices the choice
    assert eventually(lambda: fresh_detector._successor is None)
    assert fresh_detector.detector is old
    other_checkpoint.write_bytes(content)
    for _ in range(5):
        assert fresh_detector.detector is old

    [line] = [record.message for record in caplog.records]
    assert line.startswith(f"d3-test {old.info.version} stays active: ")
    run(other_checkpoint)
    fresh_detector.detector  # noqa: B018  notices the choice
    assert eventually(lambda: fresh_detector.detector.info.name == "d3-other")


def test_without_memory_for_the_new_checkpoint_the_old_one_stays(
    fresh_detector, other_checkpoint, monkeypatch
):
    no_memory = raising(torch.OutOfMemoryError("CUDA out of memory"))
    old = fresh_detector.detector
    run(other_checkpoint)
    monkeypatch.setattr(active_detector, "load_and_try_detector", no_memory)

    fresh_detector.detector  # noqa: B018  notices the choice

    assert eventually(lambda: fresh_detector._successor is None)
    assert fresh_detector.detector is old


@pytest.fixture
def installation(tmp_path, tiny_checkpoint, settings) -> Installation:
    """An installation for whose service ``run`` activates checkpoints."""
    installation = Installation(tmp_path / "data", tiny_checkpoint)
    installation.make_database()
    settings.ACTIVE_CHECKPOINT_FILE = installation.data / "active_checkpoint"
    return installation


class Clients:
    """Threads that send pictures one after the other. Each thread has its own pictures."""

    def __init__(self, url: str, *, threads: int = 3) -> None:
        self.answers: list[list[tuple[int, str]]] = [[] for _ in range(threads)]
        self._url = url
        self._over = threading.Event()

    @property
    def count(self) -> int:
        return sum(map(len, self.answers))

    def versions(self) -> set[str]:
        return {version for answers in self.answers for _, version in answers}

    @contextmanager
    def sending(self):
        with ThreadPoolExecutor(len(self.answers)) as threads:
            for number, answers in enumerate(self.answers):
                threads.submit(self._send, number, answers)
            try:
                yield self
            finally:
                self._over.set()

    def _send(self, number: int, answers: list[tuple[int, str]]) -> None:
        while not self._over.is_set():
            image = image_bytes(seed=1000 * number + len(answers))
            try:
                response = requests.post(f"{self._url}/predict", files={"image": image}, timeout=60)
            except requests.RequestException as error:
                answers.append((0, repr(error)))
            else:
                version = response.json().get("model", {}).get("version", response.text)
                answers.append((response.status_code, version))


def test_no_request_is_lost_and_old_records_keep_their_version(
    installation, tiny_checkpoint, other_checkpoint
):
    old, new = load(tiny_checkpoint).version, load(other_checkpoint).version
    with installation.served() as service, Clients(service.url).sending() as clients:
        assert eventually(lambda: clients.count >= 10)
        before = installation.query("SELECT _id, model_version FROM predictions ORDER BY _id")
        run(other_checkpoint)
        assert eventually(lambda: new in clients.versions())
        goal = clients.count + 10
        assert eventually(lambda: clients.count >= goal)
        health = requests.get(f"{service.url}/health", timeout=30).json()

    assert {status for answers in clients.answers for status, _ in answers} == {200}
    for answers in clients.answers:
        versions = [version for _, version in answers]
        assert versions == [old] * versions.count(old) + [new] * versions.count(new)
        assert {*versions} == {old, new}
    assert health["model"]["version"] == new
    assert {version for _, version in before} == {old}
    rows = dict(installation.query("SELECT _id, model_version FROM predictions"))
    assert all(rows[pk] == version for pk, version in before)
    assert len(rows) == clients.count


def test_a_service_does_not_start_with_a_missing_checkpoint(installation, other_checkpoint):
    run(other_checkpoint)
    other_checkpoint.unlink()

    with pytest.raises(RuntimeError, match="There is no checkpoint at"), installation.served():
        pass

    run("--configured")
    code, _, complaints = installation.run("check")
    assert code == 0, complaints


def test_a_hangup_loads_a_file_that_was_replaced_without_losing_a_request(
    installation, tmp_path, tiny_checkpoint
):
    path = tmp_path / "configured.safetensors"
    path.write_bytes(tiny_checkpoint.read_bytes())
    installation.environment["MODEL_CHECKPOINT_PATH"] = str(path)
    with installation.served() as service, Clients(service.url).sending() as clients:
        assert eventually(lambda: clients.count >= 5)
        variant(tiny_checkpoint, path, name="replaced")
        new = load(path).version
        service._process.send_signal(signal.SIGHUP)
        assert eventually(lambda: new in clients.versions())

    assert {status for answers in clients.answers for status, _ in answers} == {200}
