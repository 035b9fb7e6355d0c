from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from detection.d3 import DetectorInfo
from detection.d3.dataset import scan_dataset
from detection.d3.evaluation import (
    Evaluation,
    Occasion,
    Unreadable,
    metrics_table,
    pooled_table,
    robustness_table,
    table_notes,
    write_report,
)
from detection.d3.evaluation.evaluation import Condition, source_name
from detection.d3.evaluation.metrics import measure
from detection.d3.evaluation.report import render_html, worst_mistakes
from detection.d3.evaluation.tables import POOLED_COLUMNS
from tests.support.image_sets import labelled_images
from tests.support.pages import Page

pytestmark = pytest.mark.stateless


def an_evaluation(
    root: Path, scores: dict[str, list[float]], *, unreadable: tuple[Unreadable, ...] = ()
) -> Evaluation:
    """Return an evaluation of the images below ``root``, with ``scores`` in the order of paths."""
    samples = scan_dataset(root, "test")
    detector = DetectorInfo(
        name="d3-test",
        version="0123456789abcdef",
        architecture={"tower": {"kind": "residual"}},
        parameters=1234,
        threshold=0.5,
        uncertain=(0.4, 0.6),
        device="cpu",
        precision="fp32",
        preprocessing={"kind": "crops", "size": 64},
    )
    conditions = tuple(
        Condition(
            name=name,
            scores=np.array(own),
            measurement=measure(
                scores=own,
                labels=[sample.label for sample in samples],
                sources=[source_name(sample) for sample in samples],
                threshold=detector.threshold,
                uncertain=detector.uncertain,
                draws=20,
            ),
        )
        for name, own in scores.items()
    )
    return Evaluation(detector, tuple(samples), unreadable, conditions)


def an_occasion(root: Path) -> Occasion:
    return Occasion(
        dataset=root,
        split="test",
        command="python manage.py evaluate_detector pictures",
        finished_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
        seconds=1.5,
    )


def page_of(root: Path, scores: dict[str, list[float]], **options) -> Page:
    """Return the page that reports on these scores of the images below ``root``."""
    return Page(render_html(an_evaluation(root, scores, **options), an_occasion(root)))


def plots_of(page: Page) -> list[str]:
    """Return the text alternative of each plot."""
    return [each["aria-label"] for each in page.all("div") if each.get("role") == "img"]


@pytest.fixture
def root(tmp_path) -> Path:
    """Four images: 0_real/0.png, 0_real/1.png, 1_fake/0.png, 1_fake/1.png."""
    return labelled_images(tmp_path / "pictures", images=2)


def test_the_worst_mistakes_are_first_and_right_verdicts_are_left_out(root):
    evaluation = an_evaluation(root, {"clean": [0.6, 0.9, 0.2, 0.7]})

    mistakes = worst_mistakes(evaluation, an_occasion(root))

    assert {
        title: [(each.path, each.score) for each in own] for title, own in mistakes.items()
    } == {
        "Real images called fake": [("test/0_real/1.png", 0.9), ("test/0_real/0.png", 0.6)],
        "Fakes called real": [("test/1_fake/0.png", 0.2)],
    }


def test_the_json_file_holds_every_score_and_metric(root, tmp_path):
    evaluation = an_evaluation(root, {"clean": [0.1, 0.2, 0.8, 0.9], "blur=1": [0.4] * 4})

    write_report(evaluation=evaluation, occasion=an_occasion(root), folder=tmp_path / "a/report")

    document = json.loads((tmp_path / "a/report/evaluation.json").read_text(encoding="utf-8"))
    assert document["images"][2] == {
        "path": "test/1_fake/0.png",
        "source": "all",
        "label": "fake",
        "scores": {"clean": 0.8, "blur=1": 0.4},
    }
    assert document["detector"]["version"] == "0123456789abcdef"
    assert document["conditions"]["clean"]["mean"]["auc"]["value"] == 1
    [source] = document["conditions"]["blur=1"]["sources"]
    assert (source["real"], source["fake"]) == (2, 2)
    assert source["metrics"]["auc"]["value"] == 0.5


def test_the_page_shows_metrics_plots_mistakes_model_and_command(root):
    page = page_of(root, {"clean": [0.1, 0.9, 0.8, 0.7], "jpeg=70": [0.4] * 4})

    for words in (
        "Accuracy",
        "0.750",
        "fake score 0.900 test/0_real/1.png",
        "False alarms",
        "in the uncertain band, 0.400 to 0.600",
        "both sides by 0.8, bicubic, then saved as JPEG",
        "d3-test",
        "1,234 parameters",
        "evaluate_detector pictures",
    ):
        assert words in page.text
    plots = plots_of(page)
    assert len(plots) == len(page.all("svg")) == 4
    assert plots[1] == "AUC, mean over sources: clean 0.500; jpeg=70 0.500."


def test_the_page_needs_no_other_file(root):
    evaluation = an_evaluation(root, {"clean": [0.1, 0.9, 0.8, 0.7]})

    html = render_html(evaluation, an_occasion(root))

    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_tables_and_pictures_are_accessible(root):
    page = page_of(root, {"clean": [0.1, 0.9, 0.8, 0.7]})

    assert page.all("html") == [{"lang": "en"}]
    assert {header["scope"] for header in page.all("th")} == {"row", "col"}
    assert len(page.all("caption")) == len(page.all("table"))
    assert [image["alt"] for image in page.all("img")] == ["real image with fake score 0.900"]


def test_plots_take_their_ink_from_the_page(root):
    evaluation = an_evaluation(root, {"clean": [0.1, 0.9, 0.8, 0.7]})

    plots = "".join(re.findall(r"<svg.*?</svg>", render_html(evaluation, an_occasion(root)), re.S))

    assert "currentColor" in plots
    assert "#010203" not in plots
    assert "<g id=" not in plots


def test_names_of_files_and_folders_cannot_inject_markup(tmp_path):
    source = "<script>alert(1)<&$x^2$"
    root = labelled_images(tmp_path / "<b>pictures", sources=[source], images=1)
    [bad, _] = scan_dataset(root, "test")

    page = page_of(root, {"clean": [0.9, 0.1]}, unreadable=(Unreadable(bad, "<i>broken"),))

    assert not page.all("script")
    assert not page.all("b")
    assert not page.all("i")
    assert f"test/{source}/0_real/0.png: <i>broken" in page.text
    assert f"{source}, AUC 0.000" in page.text


def test_a_file_name_that_is_not_unicode_does_not_prevent_the_report(root, tmp_path):
    (root / "test/0_real/1.png").rename(root / os.fsdecode(b"test/0_real/\xff.png"))
    evaluation = an_evaluation(root, {"clean": [0.1, 0.9, 0.8, 0.7]})

    write_report(evaluation=evaluation, occasion=an_occasion(root), folder=tmp_path)

    assert "test/0_real/?.png" in (tmp_path / "evaluation.html").read_text(encoding="utf-8")


def test_a_data_set_of_one_class_has_a_report_without_a_roc_curve(tmp_path):
    root = labelled_images(tmp_path, images=2)
    for path in (root / "test/1_fake").iterdir():
        path.unlink()

    page = page_of(root, {"clean": [0.1, 0.9], "blur=1": [0.1, 0.2]})

    assert len(page.all("svg")) == 2
    assert "ROC" not in page.text


def test_the_terminal_table_has_a_line_of_values_and_a_line_of_intervals(tmp_path):
    root = labelled_images(tmp_path, sources=["a", "b"], images=1)
    evaluation = an_evaluation(root, {"clean": [0.1, 0.9, 0.9, 0.1]})

    lines = metrics_table(evaluation.clean).splitlines()

    assert lines[0].split()[:4] == ["Source", "Images", "AP", "AUC"]
    assert [line.split()[:4] for line in lines[1::2]] == [
        ["a", "2", "1.000", "1.000"],
        ["b", "2", "0.500", "0.000"],
        ["mean", "4", "0.750", "0.500"],
        ["pooled", "4", "0.500", "0.500"],
    ]
    assert lines[2].split()[1] == "1.000–1.000"


def sources_of_one_class(tmp_path: Path) -> Path:
    """The sources "a" and "b" of two fakes each, and "photos" of two real images."""
    root = labelled_images(tmp_path, sources=["a", "b", "photos"], images=2)
    for folder in ("a/0_real", "b/0_real", "photos/1_fake"):
        for path in (root / "test" / folder).iterdir():
            path.unlink()
    return root


def test_sources_of_one_class_have_the_columns_that_they_define(tmp_path):
    scores = [0.9, 0.3, 0.8, 0.7, 0.2, 0.6]
    evaluation = an_evaluation(sources_of_one_class(tmp_path), {"clean": scores, "blur=1": scores})

    lines = metrics_table(evaluation.clean).splitlines()
    robustness = robustness_table(evaluation.conditions).splitlines()

    assert lines[0].split() == ["Source", "Images", "AUC", "Acc.", "real", "Acc.", "fake"]
    assert [line.split() for line in lines[1::2]] == [
        ["a", "2", "0.750", "–", "0.500"],
        ["b", "2", "1.000", "–", "1.000"],
        ["photos", "2", "–", "0.500", "–"],
        ["mean", "6", "0.875", "0.500", "0.750"],
        ["pooled", "6", "0.875", "0.500", "0.750"],
    ]
    assert [line.split()[0] for line in robustness[1::2]] == ["a", "b", "mean", "pooled"]
    assert "The mean AUC is that of 2 sources" in table_notes(evaluation.clean)


def test_a_roc_curve_of_fakes_alone_is_against_all_real_images(tmp_path):
    root = sources_of_one_class(tmp_path)
    evaluation = an_evaluation(root, {"clean": [0.9, 0.3, 0.8, 0.7, 0.2, 0.6]})

    page = Page(render_html(evaluation, an_occasion(root)))

    assert plots_of(page)[0] == "ROC curves of a, AUC 0.750; b, AUC 1.000."
    assert table_notes(evaluation.clean) in page.text


def test_the_pooled_table_has_one_line_for_each_condition(root):
    evaluation = an_evaluation(root, {"clean": [0.1, 0.55, 0.7, 0.3], "jpeg=50": [0.4] * 4})

    header, clean, intervals, jpeg, _ = pooled_table(evaluation.conditions).splitlines()

    assert re.split(" {2,}", header)[2:] == list(POOLED_COLUMNS)
    # Only 0.55 is in the uncertain band; of the three others 0.1 and 0.7 are right.
    assert clean.split()[:5] == ["clean", "4", "0.750", "0.500", "0.500"]
    assert clean.split()[6:] == ["0.750", "0.667"]
    assert intervals.split()[1:3] == [".095–.905", ".095–.905"]
    assert jpeg.split()[:5] == ["jpeg=50", "4", "0.500", "0.000", "0.000"]


def test_many_sources_are_drawn_as_one_curve(tmp_path):
    root = labelled_images(tmp_path, sources=[f"s{place:02}" for place in range(13)], images=1)
    scores = [0.1, 0.9] * 13

    page = page_of(root, {"clean": scores, "blur=1": scores})

    assert plots_of(page)[0] == "ROC curves of pooled, AUC 1.000."
    assert "s00" in page.text


def test_the_robustness_table_has_one_column_per_condition(root):
    evaluation = an_evaluation(root, {"clean": [0.1, 0.2, 0.8, 0.9], "jpeg=50": [0.4] * 4})

    header, values, _ = robustness_table(evaluation.conditions).splitlines()

    assert header.split() == ["AUC", "Images", "clean", "jpeg=50"]
    assert values.split() == ["all", "4", "1.000", "0.500"]
