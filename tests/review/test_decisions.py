"""The review service: claims, decisions, and the order of the queue."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from detection.errors import DatabaseUnavailableError
from detection.models import Prediction, now
from detection.records.duplicates import MAX_SAME, same_bytes
from detection.review import decisions, queue
from detection.review.decisions import StaleDecisionError
from tests.support.factories import a_prediction
from tests.support.people import a_moderator
from tests.support.provenance import a_generated_record
from tests.support.queries import queries_of
from tests.support.settings import ON_SERVERS
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
in_threads = pytest.mark.django_db(transaction=True)

REVIEW = Prediction.Review
THREADS = 12


@pytest.fixture
def ann() -> User:
    return a_moderator("ann")


@pytest.fixture
def bob() -> User:
    return a_moderator("bob")


def stored(prediction: Prediction) -> Prediction:
    return Prediction.objects.get(pk=prediction.pk)


def confirm(prediction: Prediction, reviewer: User, **options) -> None:
    """Decide on the revision of ``prediction``, or on an older ``revision``."""
    options = {"status": REVIEW.CONFIRMED, "revision": prediction.review_revision} | options
    decisions.decide(prediction=prediction, reviewer=reviewer, **options)


def expire_claims() -> None:
    Prediction.objects.update(claimed_until=now() - timedelta(seconds=1))


def test_the_least_certain_comes_first(ann):
    scores = [0.9, 0.505, 0.2, 0.62, 0.5, 0.495]
    by_score = {score: a_prediction(fake_score=score) for score in scores}
    confirm(by_score[0.62], ann)
    order = []

    while prediction := queue.claim_next(reviewer=ann, skipped=order):
        order.append(prediction.pk)

    by_margin = sorted({0.9, 0.505, 0.2, 0.5, 0.495}, key=lambda score: by_score[score].margin)
    assert order == [by_score[score].pk for score in by_margin]


def test_a_contradicted_verdict_comes_before_the_least_certain(ann, monkeypatch):
    monkeypatch.setattr(queue, "AT_ONCE", 2)
    unsure, sure = a_prediction(fake_score=0.5), a_prediction(fake_score=0.9)
    disputed = [a_generated_record(fake_score=score) for score in (0.1, 0.4, 0.2)]
    agreeing = a_generated_record(fake_score=0.7)
    order = []

    while prediction := queue.claim_next(reviewer=ann, skipped=[each.pk for each in order]):
        order.append(prediction)

    assert order == [disputed[1], disputed[2], disputed[0], unsure, agreeing, sure]


def test_a_claimed_prediction_goes_to_no_other_moderator(ann, bob):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)

    assert queue.claim_next(reviewer=ann) == first
    assert queue.claim_next(reviewer=ann) == first  # opened once more
    assert queue.claim_next(reviewer=bob) == second
    with pytest.raises(
        StaleDecisionError, match=r"^ann is looking at this prediction right now\.$"
    ):
        decisions.claim(prediction=first, reviewer=bob)
    assert queue.claim_next(reviewer=bob, skipped=[second.pk]) is None


@pytest.mark.parametrize("same_margin", [True, False])
def test_a_decision_between_two_pages_of_the_queue_hides_nothing(
    ann, bob, monkeypatch, same_margin
):
    monkeypatch.setattr(queue, "AT_ONCE", 5)
    step = 0 if same_margin else 0.01
    predictions = [a_prediction(fake_score=0.7 + step * number) for number in range(6)]
    predictions.sort(key=lambda each: (each.margin, each.pk))
    first, *skipped = predictions[:5]
    claim, seen = queue.try_claim, []

    def decided_meanwhile(prediction: Prediction, reviewer: User) -> bool:
        """Let another moderator decide on the records of the first page."""
        if not seen:
            confirm(stored(first), bob)
        seen.append(prediction)
        return claim(prediction, reviewer)

    monkeypatch.setattr(queue, "try_claim", decided_meanwhile)

    claimed = queue.claim_next(reviewer=ann, skipped=[each.pk for each in skipped])

    assert claimed == predictions[5]


def test_a_claim_ends_by_itself(ann, bob):
    prediction = a_prediction()
    decisions.claim(prediction=prediction, reviewer=ann)
    expire_claims()

    assert queue.claim_next(reviewer=bob) == prediction
    with pytest.raises(StaleDecisionError, match="bob is looking"):
        confirm(prediction, ann)
    expire_claims()
    with pytest.raises(StaleDecisionError, match="has changed since you opened it"):
        confirm(prediction, ann)  # bob may have found out something
    confirm(stored(prediction), bob)

    assert stored(prediction).reviewer == bob


def test_a_late_decision_counts_if_no_other_moderator_claimed_the_prediction(ann):
    prediction = queue.claim_next(reviewer=ann) or a_prediction()
    expire_claims()

    confirm(prediction, ann)

    assert stored(prediction).review_status == REVIEW.CONFIRMED


def test_a_decision_is_written_whole_and_ends_the_claim(ann):
    prediction = a_prediction()
    decisions.claim(prediction=prediction, reviewer=ann)
    seen = prediction.review_revision

    confirm(prediction, ann, status=REVIEW.OVERTURNED, note="Its shadows are right.")

    for record in (prediction, stored(prediction)):
        assert (record.review_status, record.reviewer) == (REVIEW.OVERTURNED, ann)
        assert (record.label, record.label_in_force) == ("FAKE", "REAL")
        assert record.review_note == "Its shadows are right."
        assert record.review_revision == seen + 1
        assert record.updated_at == record.reviewed_at > record.created_at
        assert record.claimed_by is record.claimed_until is None
    assert queue.claim_next(reviewer=ann) is None


def test_a_stale_decision_changes_nothing(ann, bob):
    prediction, seen = a_prediction(), Prediction.objects.get()
    confirm(prediction, ann, note="sure")

    with pytest.raises(StaleDecisionError) as refusal:
        confirm(seen, bob, status=REVIEW.OVERTURNED)

    assert str(refusal.value) == "This prediction has been confirmed by ann meanwhile."
    assert seen.review_status == REVIEW.UNREVIEWED
    assert stored(prediction).reviewer == ann
    assert stored(prediction).review_note == "sure"


def test_a_decision_can_be_changed_by_a_moderator_who_has_seen_it(ann, bob):
    prediction = a_prediction()
    confirm(prediction, ann)

    confirm(prediction, bob, status=REVIEW.OVERTURNED, revision=1)

    assert stored(prediction).reviewer == bob
    assert stored(prediction).review_revision == 2


def test_an_undone_decision_reopens_the_prediction(ann, bob):
    prediction = a_prediction()
    confirm(prediction, ann, note="hasty")

    confirm(prediction, ann, status=REVIEW.UNREVIEWED, revision=1, note="hasty")

    record = stored(prediction)
    assert (record.review_status, record.reviewer, record.reviewed_at) == ("unreviewed", None, None)
    assert (record.review_note, record.review_revision) == ("hasty", 2)
    assert queue.claim_next(reviewer=bob) == prediction


def test_a_decision_changed_by_another_moderator_is_not_undone(ann, bob):
    prediction = a_prediction()
    confirm(prediction, ann)
    confirm(prediction, bob, revision=1, status=REVIEW.OVERTURNED)

    with pytest.raises(StaleDecisionError, match="has been overturned by bob meanwhile"):
        confirm(prediction, ann, revision=1, status=REVIEW.UNREVIEWED)
    confirm(prediction, bob, revision=2, status=REVIEW.UNREVIEWED)
    with pytest.raises(StaleDecisionError, match="has changed since you opened it"):
        confirm(prediction, ann, revision=1)


def test_a_stale_decision_of_the_claiming_moderator_is_refused(ann, bob):
    prediction = a_prediction()
    confirm(prediction, bob)
    confirm(prediction, bob, revision=1, status=REVIEW.UNREVIEWED)
    decisions.claim(prediction=prediction, reviewer=ann)
    decisions.claim(prediction=prediction, reviewer=ann)  # a page that is loaded again

    with pytest.raises(StaleDecisionError, match="has changed since you opened it"):
        confirm(prediction, ann, revision=0)
    confirm(prediction, ann, revision=3)


def test_a_deleted_prediction_is_refused_with_a_sentence(ann):
    prediction = a_prediction()
    Prediction.objects.all().delete()

    for refused in (
        lambda: confirm(prediction, ann),
        lambda: decisions.claim(prediction=prediction, reviewer=ann),
        lambda: decisions.pass_over(prediction=prediction, reviewer=ann, note="gone?"),
    ):
        with pytest.raises(StaleDecisionError, match="has been deleted meanwhile"):
            refused()
    decisions.pass_over(prediction=prediction, reviewer=ann, note="")


def test_a_decision_of_a_deleted_user_still_counts(ann, bob):
    prediction = a_prediction()
    confirm(prediction, bob)
    bob.delete()

    with pytest.raises(StaleDecisionError, match="confirmed by another moderator meanwhile"):
        confirm(prediction, ann, revision=0)


def test_passing_over_releases_the_prediction_with_a_note(ann, bob):
    prediction = queue.claim_next(reviewer=ann) or a_prediction()
    decisions.claim(prediction=prediction, reviewer=ann)

    decisions.pass_over(prediction=prediction, reviewer=ann, note="Who knows this place?")

    assert queue.claim_next(reviewer=ann, skipped=[prediction.pk]) is None
    theirs = queue.claim_next(reviewer=bob)
    assert theirs.review_note == "Who knows this place?"
    assert theirs.review_status == REVIEW.UNREVIEWED
    decisions.pass_over(prediction=theirs, reviewer=bob, note=theirs.review_note)
    assert stored(prediction).review_note == "Who knows this place?"


def test_passing_over_never_changes_a_prediction_of_another_moderator(ann, bob):
    prediction = a_prediction()
    seen = stored(prediction)
    decisions.claim(prediction=prediction, reviewer=bob)

    for passed in (prediction, seen):
        decisions.pass_over(prediction=passed, reviewer=ann, note="")
        with pytest.raises(StaleDecisionError, match="bob is looking"):
            decisions.pass_over(prediction=passed, reviewer=ann, note="mine")

    assert stored(prediction).claimed_by == bob
    assert stored(prediction).review_note == ""


def test_passing_over_keeps_the_note_of_a_decision(ann, bob):
    prediction = a_prediction()
    decisions.claim(prediction=prediction, reviewer=ann)
    expire_claims()
    confirm(stored(prediction), bob, note="sure")

    with pytest.raises(StaleDecisionError, match="confirmed by bob"):
        decisions.pass_over(prediction=prediction, reviewer=ann, note="not so sure")

    assert stored(prediction).review_note == "sure"


def test_the_queue_is_counted_up_to_a_bound():
    for _ in range(3):
        a_prediction()
    a_prediction(review_status=REVIEW.CONFIRMED)

    assert queue.count_waiting(most=10) == 3
    assert queue.count_waiting(most=2) == 2


def test_other_records_of_the_same_bytes_are_listed_newest_first():
    others = [a_prediction(sha256="a" * 64) for _ in range(MAX_SAME + 2)]
    a_prediction(sha256="b" * 64)

    assert same_bytes(others[0]) == others[: -MAX_SAME - 1 : -1]
    assert same_bytes(others[-1]) == others[-2 : -MAX_SAME - 2 : -1]


@in_threads
def test_many_moderators_at_once_each_get_another_prediction():
    moderators = [a_moderator(f"mod{number}") for number in range(THREADS)]
    predictions = [a_prediction(fake_score=0.5 + number / 100) for number in range(THREADS)]

    claimed = at_once(lambda moderator: queue.claim_next(reviewer=moderator), moderators)

    assert {prediction.pk for prediction in claimed} == {each.pk for each in predictions}
    for moderator, prediction in zip(moderators, claimed, strict=True):
        assert stored(prediction).claimed_by == moderator


@in_threads
def test_one_of_many_moderators_claims_a_prediction():
    moderators = [a_moderator(f"mod{number}") for number in range(THREADS)]
    a_prediction()

    claimed = at_once(lambda moderator: queue.claim_next(reviewer=moderator), moderators)

    assert sorted(prediction is not None for prediction in claimed) == [False] * 11 + [True]


@in_threads
def test_one_of_many_decisions_on_the_same_revision_counts():
    moderators = [a_moderator(f"mod{number}") for number in range(THREADS)]
    prediction = a_prediction()

    def decision(moderator: User) -> str:
        try:
            confirm(stored(prediction), moderator, note=moderator.username, revision=0)
        except StaleDecisionError as error:
            return str(error)
        return "won"

    said = at_once(decision, moderators)

    winner = moderators[said.index("won")]
    assert sorted(set(said)) == [
        f"This prediction has been confirmed by {winner} meanwhile.",
        "won",
    ]
    assert said.count("won") == 1
    assert stored(prediction).reviewer == winner
    assert stored(prediction).review_note == winner.username
    assert stored(prediction).review_revision == 1


@in_threads
def test_many_moderators_at_once_review_a_whole_queue_once():
    moderators = [a_moderator(f"mod{number}") for number in range(4)]
    predictions = [a_prediction(fake_score=0.5 + number / 200) for number in range(30)]

    def work(moderator: User) -> list[str]:
        done = []
        while prediction := queue.claim_next(reviewer=moderator):
            confirm(prediction, moderator, revision=prediction.review_revision)
            done.append(prediction.pk)
        return done

    done = at_once(work, moderators)

    assert sorted(pk for each in done for pk in each) == sorted(each.pk for each in predictions)
    assert set(Prediction.objects.values_list("review_revision", flat=True)) == {2}


def test_without_database_a_review_is_unavailable(ann, lost_database):
    with pytest.raises(DatabaseUnavailableError):
        queue.claim_next(reviewer=ann)


def test_claim_decision_and_passing_over_are_one_command_each(ann):
    a_prediction(fake_score=0.5)

    [looked_up, claimed] = queries_of(lambda: queue.claim_next(reviewer=ann))
    prediction = Prediction.objects.get()
    [passed] = queries_of(
        lambda: decisions.pass_over(prediction=prediction, reviewer=ann, note="?")
    )
    [decided] = [
        query for query in queries_of(lambda: confirm(prediction, ann)) if "predictions" in query
    ]

    for command in (claimed, passed, decided):
        assert command.startswith("db.predictions.update_many(" if ON_SERVERS else "UPDATE ")
        condition = command.partition("WHERE" if not ON_SERVERS else "$set")[0 if ON_SERVERS else 2]
        assert prediction.pk in condition
        assert "review_revision" in condition
        assert not any(word in condition for word in (" OR ", "NOT", "$or", "$nor"))
    assert not any(word in "".join((looked_up, claimed, decided)) for word in ("$lookup", "JOIN"))


def test_images_that_cannot_be_judged_do_not_fill_the_queue(ann):
    a_prediction(fake_score=0.5, uncertain=True, reason="too_small")
    judged = a_prediction(fake_score=0.9)

    assert queue.count_waiting(most=10) == 1
    assert queue.claim_next(reviewer=ann) == judged
