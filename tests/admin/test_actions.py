"""Actions on the ticked predictions of the admin's list."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.core.files.storage import Storage, default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection.judging.active_detector import get_detector
from detection.judging.predict import predict_image
from detection.models import Prediction, Source
from detection.review.decisions import claim, decide
from tests.support.factories import a_prediction, an_upload
from tests.support.failures import raising
from tests.support.people import a_moderator
from tests.support.reviewing import stored

pytestmark = pytest.mark.django_db

URL = "/admin/detection/prediction/"
Review = Prediction.Review


def act(client, action: str, predictions: list[Prediction], *, query: str = "", **data: str):
    """Send the action as a page does that was opened just now."""
    ticked = [prediction.pk for prediction in predictions]
    form = {"action": action, "index": "0", "_selected_action": ticked, "revisions": revisions()}
    return client.post(f"{URL}{query}", form | data)


def revisions() -> str:
    seen = Prediction.objects.values_list("pk", "review_revision")
    return "".join(f"{pk}:{revision} " for pk, revision in seen)


def said(response) -> list[str]:
    assert response.status_code == 302, response.content
    return [str(message) for message in get_messages(response.wsgi_request)]


def log() -> list[tuple]:
    entries = LogEntry.objects.order_by("object_repr")
    return [(each.user.username, each.object_id, each.get_change_message()) for each in entries]


@pytest.mark.parametrize(
    ("action", "status", "sentence"),
    [
        ("confirm", Review.CONFIRMED, "Confirmed: FAKE."),
        ("overturn", Review.OVERTURNED, "Overturned: REAL instead of FAKE."),
    ],
)
def test_each_decision_is_stored_and_logged(moderator_client, moderator, action, status, sentence):
    ticked = [a_prediction(original_filename=f"{number}.jpg") for number in range(2)]
    left = a_prediction()

    response = act(moderator_client, action, ticked)

    assert said(response) == [f"2 predictions {status}."]
    for prediction in ticked:
        prediction.refresh_from_db()
        assert (prediction.review_status, prediction.reviewer) == (status, moderator)
    assert stored(left).review_status == Review.UNREVIEWED
    assert log() == [("mod", prediction.pk, sentence) for prediction in ticked]


def test_an_entry_of_the_log_links_to_its_prediction(moderator_client):
    prediction = a_prediction()
    act(moderator_client, "confirm", [prediction])

    assert LogEntry.objects.get().get_edited_object() == prediction
    history = moderator_client.get(f"{URL}{prediction.pk}/history/").content.decode()
    assert "Confirmed: FAKE." in history


def test_a_record_that_another_moderator_has_open_is_skipped(moderator_client):
    claimed, free = (a_prediction(original_filename=name) for name in ("a.jpg", "b.jpg"))
    claim(prediction=claimed, reviewer=a_moderator("rita"))

    response = act(moderator_client, "overturn", [claimed, free])

    assert sorted(said(response)) == [
        "1 prediction overturned.",
        "a.jpg: rita is looking at this prediction right now.",
    ]
    assert stored(claimed).review_status == Review.UNREVIEWED


def test_a_record_decided_after_the_list_was_shown_is_refused(moderator_client):
    prediction = a_prediction(original_filename="a.jpg")
    shown = moderator_client.get(URL).content.decode()
    assert f'name="revisions" value="{prediction.pk}:0 "' in shown
    rita = a_moderator("rita")
    decide(prediction=prediction, status=Review.CONFIRMED, reviewer=rita, revision=0)

    response = act(moderator_client, "overturn", [prediction], revisions=f"{prediction.pk}:0 ")

    assert said(response) == ["a.jpg: This prediction has been confirmed by rita meanwhile."]
    assert stored(prediction).review_status == Review.CONFIRMED


@pytest.mark.parametrize(
    "seen",
    ["", "{pk}", "{pk}:", "{pk}:x", "{pk}:-1", "{pk}:٠", "{pk}:9999999999", "{pk}:" + 5000 * "1"],
    ids=lambda seen: seen[:16],
)
def test_a_record_without_the_revision_of_the_list_is_refused(moderator_client, seen):
    prediction = a_prediction(original_filename="a.jpg")

    seen = seen.format(pk=prediction.pk)
    response = act(moderator_client, "confirm", [prediction], revisions=seen)

    sentence = "This prediction has changed since you opened it; look at it once more."
    assert said(response) == [f"a.jpg: {sentence}"]
    assert stored(prediction).review_status == Review.UNREVIEWED
    assert log() == []


def test_a_form_without_revisions_decides_nothing(moderator_client):
    prediction = a_prediction(original_filename="a.jpg")
    rita = a_moderator("rita")
    decide(prediction=prediction, status=Review.CONFIRMED, reviewer=rita, revision=0)

    form = {"action": "overturn", "_selected_action": [prediction.pk]}
    response = moderator_client.post(URL, form)

    assert said(response) == ["a.jpg: This prediction has been confirmed by rita meanwhile."]
    assert stored(prediction).review_status == Review.CONFIRMED


def test_a_bulk_decision_keeps_the_note(moderator_client):
    prediction = a_prediction(review_note="Seen elsewhere.")

    act(moderator_client, "confirm", [prediction])

    prediction.refresh_from_db()
    assert prediction.review_note == "Seen elsewhere."


def test_only_ticked_records_are_decided(moderator_client):
    ticked, other = a_prediction(), a_prediction()

    act(moderator_client, "confirm", [ticked], select_across="1")

    assert stored(other).review_status == Review.UNREVIEWED


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_moderator_reviews_and_exports_and_nothing_else(moderator_client):
    prediction = predict_image(upload=an_upload(), source="api")
    Prediction.objects.update(model_version="old")

    page = moderator_client.get(URL).content.decode()

    for action in ("confirm", "overturn", "export_csv"):
        assert f'<option value="{action}">' in page
    for action in ("delete_selected", "judge_again"):
        assert f'<option value="{action}">' not in page
        act(moderator_client, action, [prediction], post="yes")
    assert Prediction.objects.get() == prediction


def test_a_user_who_may_only_view_decides_nothing(client):
    viewer = get_user_model().objects.create_user("ann", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_prediction"))
    client.force_login(viewer)
    prediction = a_prediction()

    act(client, "confirm", [prediction])

    assert stored(prediction).review_status == Review.UNREVIEWED


@pytest.mark.usefixtures("tiny_checkpoint")
def test_deleting_asks_first_and_removes_the_files(admin_client, stored_files):
    predictions = [predict_image(upload=an_upload(), source="api") for _ in range(2)]

    question = act(admin_client, "delete_selected", predictions)

    assert "Are you sure" in question.content.decode()
    assert Prediction.objects.count() == 2
    ticked = [prediction.pk for prediction in predictions]
    form = {"action": "delete_selected", "_selected_action": ticked, "post": "yes"}
    assert said(admin_client.post(URL, form)) == ["2 predictions deleted with files."]
    assert not Prediction.objects.exists()
    assert stored_files() == []
    assert sorted(entry[1:] for entry in log()) == [
        (pk, "Deleted with its files.") for pk in sorted(ticked)
    ]


def old_verdict(*, seed: int = 0, **fields) -> Prediction:
    """Store a verdict of an older model, with its files."""
    name = f"{seed}.jpg"
    prediction = predict_image(upload=an_upload(filename=name, seed=seed), source="api", **fields)
    Prediction.objects.filter(pk=prediction.pk).update(model_version="old")
    prediction.refresh_from_db()
    return prediction


@pytest.mark.usefixtures("tiny_checkpoint")
class TestJudgingAgain:
    def test_both_verdicts_are_stored(self, admin_client, stored_files):
        owner = get_user_model().objects.create_user("ann")
        old, nobodys = old_verdict(owner=owner), old_verdict(seed=1)

        response = act(admin_client, "judge_again", [old, nobodys])

        assert said(response) == ["2 predictions judged again."]
        new = Prediction.objects.get(sha256=old.sha256, source=Source.RERUN)
        assert new.model_version == get_detector().info.version
        assert (new.owner, new.original_filename) == (owner, "0.jpg")
        assert Prediction.objects.get(sha256=nobodys.sha256, source=Source.RERUN).owner is None
        old.refresh_from_db()
        assert (old.model_version, old.source) == ("old", "api")
        assert set(old.file_keys + new.file_keys) <= set(stored_files())
        sentence = f"Judged again: {new.label} by {new.model_version}, as {new.pk}."
        assert ("admin", old.pk, sentence) in log()

    def test_records_of_the_current_model_are_skipped(self, admin_client):
        old = old_verdict()
        act(admin_client, "judge_again", [old])
        new = Prediction.objects.get(source=Source.RERUN)

        response = act(admin_client, "judge_again", [old, new])

        assert said(response)[-1] == "2 predictions skipped: already judged by this model."
        assert Prediction.objects.count() == 2

    def test_a_lost_original_does_not_stop_the_others(self, admin_client):
        lost, kept = old_verdict(), old_verdict(seed=1)
        default_storage.delete(lost.original_image.name)

        response = act(admin_client, "judge_again", [lost, kept])

        assert said(response) == [
            "0.jpg: The original of 0.jpg is no longer in the storage.",
            "1 prediction judged again.",
        ]

    def test_an_outage_of_the_storage_is_reported(self, admin_client, monkeypatch):
        old = old_verdict()
        monkeypatch.setattr(Storage, "open", raising(ConnectionError))

        response = act(admin_client, "judge_again", [old])

        assert said(response) == [
            "The file storage cannot be reached. Earlier verdicts of this action are stored."
        ]
        assert Prediction.objects.get() == old


def test_the_export_has_all_of_a_record_and_no_formulas(admin_client, admin_user):
    decided = a_prediction(
        original_filename="=HYPERLINK(1)",
        fake_score=0.87654321,
        review_status=Review.OVERTURNED,
        reviewer=admin_user,
        review_note="+1",
        created_at=datetime(2026, 11, 30, 9, 15, tzinfo=UTC),
        reviewed_at=datetime(2026, 11, 30, 10, 15, 7, 999_999, tzinfo=UTC),
        camera="@camera",
        frames=12,
        frame=7,
        judged_frames=12,
        declares="generated",
        provenance={"generator": "Midjourney", "says": "=This file says"},
    )
    others = [a_prediction(reviewer=admin_user) for _ in range(5)]
    with CaptureQueriesContext(connection) as queries:
        response = act(admin_client, "export_csv", [decided, *others])

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.content.startswith(b"\xef\xbb\xbfid,time")
    assert 'filename="predictions_' in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(response.content.decode("utf-8-sig").splitlines()))
    assert len(rows) == 6
    row = next(row for row in rows if row["id"] == decided.pk)
    assert (row["filename"], row["note"], row["camera"]) == ("'=HYPERLINK(1)", "'+1", "'@camera")
    assert (row["frames"], row["frame"], row["judged_frames"]) == ("12", "7", "12")
    assert (row["declares"], row["generator"]) == ("generated", "Midjourney")
    assert row["file_says"] == "'=This file says"
    assert (row["label"], row["label_in_force"], row["reviewer"]) == ("FAKE", "REAL", "admin")
    assert (row["time"], row["reviewed_at"]) == ("2026-11-30 09:15:00", "2026-11-30 10:15:07")
    assert {row["reviewed_at"] for row in rows if row["id"] != decided.pk} == {""}
    assert float(row["fake_score"]) == 0.87654321
    of_users = [query for query in queries.captured_queries if "auth_user" in query["sql"]]
    assert len(of_users) == 2  # the user, and all reviewers
