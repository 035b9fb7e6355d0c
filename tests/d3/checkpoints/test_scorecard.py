from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from detection.d3.checkpoints import ScoreBin, Scorecard
from tests.support.scorecards import a_scorecard

pytestmark = pytest.mark.stateless


def as_json(scorecard: Scorecard) -> dict:
    return json.loads(json.dumps(asdict(scorecard)))


@pytest.mark.parametrize(
    ("score", "generated"),
    [
        (0.0, 18),  # 180 of 200 photographs, 20 of 100 generated pictures
        (0.25, 18),
        (0.251, 75),  # 20 of 200 and 30 of 100
        (0.8, 97),  # 3 of 200 and 53 of 100
        (1.0, 97),
    ],
)
def test_the_meaning_of_a_score_is_the_share_of_generated_test_pictures(score, generated):
    assert a_scorecard().meaning(score) == (
        "In a test with as many photographs as generated pictures, "
        f"about {generated} of 100 with a score like this were generated."
    )


@pytest.mark.parametrize(("score", "words"), [(0.1, "about 1 of 100"), (0.9, "about 99 of 100")])
def test_the_meaning_never_says_none_or_all(score, words):
    bins = (ScoreBin(0.0, 0.5, 100_000, 0), ScoreBin(0.5, 1.0, 0, 100_000))
    assert words in a_scorecard(bins=bins).meaning(score)


def test_a_scorecard_is_the_same_after_it_was_stored_as_json():
    assert Scorecard.from_dict(as_json(a_scorecard())) == a_scorecard()


@pytest.mark.parametrize(
    "changes",
    [
        {"bins": []},
        {"bins": [[0, 0.9, 1, 1]]},  # the scores above have no bin
        {"bins": [[0.1, 1, 1, 1]]},
        {"bins": [[0, 0.5, 1, 1], [0.6, 1, 1, 1]]},
        {"bins": [[0, 0.5, 1, 1], [0.5, 0.4, 1, 1], [0.4, 1, 1, 1]]},
        {"bins": [[0, 1, 10, 0]]},  # no fakes
        {"bins": [[0, 1, -1, 5]]},
        {"bins": [[0, 1, 1.5, 5]]},
        {"bins": [[0, 1, 5]]},
        {"bins": [["0", "1", 5, 5]]},
        {"bins": 5},
        {"auc": [0.9, 0.8]},
        {"auc": None},
        {"found": [0.9, 0.8, 1.1]},
        {"false_alarms": [float("nan"), 0, 1]},
        {"pictures": "many"},
        {"colour": "blue"},
    ],
)
def test_an_invalid_measurement_is_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        Scorecard.from_dict(as_json(a_scorecard()) | changes)


def test_a_field_that_is_missing_is_refused():
    values = as_json(a_scorecard())
    del values["found"]
    with pytest.raises(LookupError):
        Scorecard.from_dict(values)
