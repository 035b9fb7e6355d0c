from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from detection.d3.checkpoints import load
from tests.support.image_sets import labelled_images

pytestmark = [pytest.mark.stateless, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def evaluate_detector(capsys, monkeypatch):
    """A function that runs the command and returns its standard output."""

    def run(*arguments: object) -> str:
        line = ["evaluate_detector", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["manage.py", *line])
        call_command(*line)
        return capsys.readouterr().out

    return run


def test_it_prints_the_metrics_and_writes_both_reports(evaluate_detector, tmp_path):
    root = labelled_images(tmp_path / "pictures", sources=["a", "b"], images=2)

    printed = evaluate_detector(
        root, "--perturb", "jpeg=90,50", "blur=1", "--output", tmp_path / "report"
    )

    assert re.search(r"^mean +8 ", printed, re.M)
    assert re.search(r"^pooled +8 ", printed, re.M)
    assert re.search(r"^All images +Images +AUC +Found ", printed, re.M)
    assert "all images as one source" in " ".join(printed.split())
    assert re.search(r"^AUC +Images +clean +jpeg=90 +jpeg=50 +blur=1$", printed, re.M)
    assert printed.endswith(f"Report: {tmp_path / 'report/evaluation.html'}\n")
    document = json.loads((tmp_path / "report/evaluation.json").read_text(encoding="utf-8"))
    assert list(document["conditions"]) == ["clean", "jpeg=90", "jpeg=50", "blur=1"]
    assert document["detector"]["name"] == "d3-test"
    assert document["command"] == (
        f"python manage.py evaluate_detector {root} --perturb jpeg=90,50 blur=1"
        f" --output {tmp_path / 'report'}"
    )


def test_the_measurement_can_be_recorded_in_the_checkpoint(
    evaluate_detector, tiny_checkpoint, tmp_path
):
    path = Path(shutil.copy(tiny_checkpoint, tmp_path))
    root = labelled_images(tmp_path / "pictures", images=30)

    printed = evaluate_detector(
        root, "--checkpoint", path, "--record", "--perturb", "blur=2", "--output", tmp_path
    )

    assert printed.endswith(f"Recorded in {path}.\n")
    scorecard, version = load(path).scorecard, load(path).version
    assert (scorecard.dataset, scorecard.split, scorecard.pictures) == ("pictures", "test", 60)
    assert sum(each.real for each in scorecard.bins) == 30
    document = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    pooled = document["conditions"]["clean"]["pooled"]["metrics"]
    assert scorecard.auc == tuple(pooled["auc"].values())
    assert scorecard.false_alarms[0] == 1 - pooled["accuracy_real"]["value"]
    assert scorecard.found == tuple(pooled["accuracy_fake"].values())
    assert version == load(tiny_checkpoint).version


def test_a_measurement_that_cannot_be_recorded_is_refused_before_the_work(
    evaluate_detector, tiny_checkpoint, tmp_path
):
    root = labelled_images(tmp_path / "pictures", images=2)

    with pytest.raises(CommandError, match="needs 30 pictures of each class"):
        evaluate_detector(root, "--record", "--output", tmp_path / "report")

    assert not (tmp_path / "report").exists()
    assert load(tiny_checkpoint).scorecard is None


def test_without_an_output_folder_the_report_goes_to_a_new_one_below_runs(
    evaluate_detector, tmp_path, monkeypatch
):
    root = labelled_images(tmp_path / "pictures", images=1)
    monkeypatch.chdir(tmp_path)

    evaluate_detector(root)

    [report] = tmp_path.glob("runs/evaluation-*/evaluation.html")
    assert report.stat().st_size > 0


def test_another_split_can_be_measured(evaluate_detector, tmp_path):
    root = labelled_images(tmp_path / "pictures", split="val", images=1)

    evaluate_detector(root, "--split", "val", "--output", tmp_path)

    document = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert [each["path"] for each in document["images"]] == ["val/0_real/0.png", "val/1_fake/0.png"]


def test_unreadable_images_are_named_and_do_not_stop_it(evaluate_detector, tmp_path, capsys):
    root = labelled_images(tmp_path / "pictures", images=1)
    (root / "test/0_real/broken.jpg").write_bytes(b"")

    call_command("evaluate_detector", str(root), "--output", str(tmp_path))

    assert f"{root / 'test/0_real/broken.jpg'}: The file is empty.\n" in capsys.readouterr().err


def test_a_missing_data_set_is_reported_in_one_sentence(evaluate_detector, tmp_path):
    with pytest.raises(CommandError, match=f"^{tmp_path}/nowhere .*") as caught:
        evaluate_detector(tmp_path / "nowhere")

    assert caught.value.returncode == 1
    assert "\n" not in str(caught.value)


def test_a_wrong_perturbation_is_refused_before_anything_is_read(evaluate_detector, tmp_path):
    with pytest.raises(CommandError, match="'101' is not a whole quality from 1 to 100"):
        evaluate_detector(tmp_path / "nowhere", "--perturb", "jpeg=101")


def test_a_file_that_is_no_checkpoint_is_refused(evaluate_detector, tmp_path):
    root = labelled_images(tmp_path / "pictures", images=1)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing of use")

    with pytest.raises(CommandError, match=r"weights\.safetensors"):
        evaluate_detector(root, "--checkpoint", tmp_path / "weights.safetensors")


def test_an_unknown_device_is_refused(evaluate_detector, tmp_path, settings):
    settings.DEVICE = "abacus"

    with pytest.raises(CommandError, match="'abacus'"):
        evaluate_detector(labelled_images(tmp_path, images=1))


def test_an_output_folder_that_cannot_be_created_is_refused_before_the_work(
    evaluate_detector, tmp_path
):
    root = labelled_images(tmp_path / "pictures", images=1)
    (tmp_path / "file").touch()

    with pytest.raises(CommandError, match="cannot be made: not a directory"):
        evaluate_detector(root, "--output", tmp_path / "file/report")
