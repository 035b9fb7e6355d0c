"""The totals equal a full count, whatever happens to predictions."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError
from django.db import connection

from detection import tasks
from detection.judging.predict import predict_image
from detection.models import Prediction, Total, now
from detection.records import totals
from detection.records.deleting import delete_with_files
from detection.records.writing import delete_predictions, write_predictions
from detection.review.decisions import ReviewError, decide
from detection.statistics.periods import Period
from detection.statistics.usage import (
    count_groups,
    count_predictions,
    count_predictions_by_day,
    count_scores,
    latency_percentiles,
    read_days,
    review_queue,
)
from detection.upkeep import recounting
from detection.upkeep.purging import purge_predictions
from detection.upkeep.recounting import rebuild_totals
from tests.support.api import a_user
from tests.support.commands import printed_by
from tests.support.factories import a_prediction, an_upload, store_predictions, unsaved_prediction
from tests.support.figures import assert_groups, assert_histogram, assert_latencies, assert_usage
from tests.support.people import a_moderator
from tests.support.settings import ON_SERVERS

pytestmark = pytest.mark.django_db

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 4
PERIOD = Period(FIRST.date(), FIRST.date() + timedelta(days=DAYS - 1))


def assert_all_figures(owners: list) -> None:
    """Check each figure of statistics and dashboard, for all users and for each owner."""
    records = list(Prediction.objects.all())
    start, end = FIRST + timedelta(hours=5), FIRST + timedelta(days=2, hours=7)
    for owner in [None, *owners]:
        own = [each for each in records if owner in (None, each.owner)]
        assert_usage(count_predictions(user=owner), own)
        between = [each for each in own if start <= each.created_at < end]
        assert_usage(count_predictions(user=owner, start=start, end=end), between)
        by_day = count_predictions_by_day(user=owner, start=PERIOD.start, end=PERIOD.end)
        for day in by_day["days"]:
            assert_usage(day, [each for each in own if each.created_at.date() == day["date"]])
    rows = read_days(PERIOD)
    assert_groups(count_groups(rows), records)
    assert_histogram(count_scores(rows), records)
    assert_latencies(latency_percentiles(rows), records)
    waiting = [each for each in records if each.review_status == "unreviewed"]
    queue = review_queue()
    assert queue.waiting == len(waiting)
    assert queue.uncertain == sum(each.uncertain for each in waiting)
    assert queue.oldest == min((each.created_at for each in waiting), default=None)


class History:
    """Write, review, delete and undo predictions in a random order."""

    def __init__(self, *, seed: int, moderator, owners: list) -> None:
        self.chance = random.Random(seed)
        self.moderator = moderator
        self.owners = owners

    def happen(self) -> None:
        events = [self.write] * 5 + [self.review] * 5 + [self.delete, self.undo]
        self.chance.choice(events)()

    def any_record(self) -> Prediction | None:
        return self.chance.choice(list(Prediction.objects.all()) or [None])

    def write(self) -> None:
        a_prediction(
            created_at=FIRST + timedelta(milliseconds=self.chance.randrange(DAYS * 86_400_000)),
            fake_score=self.chance.choice([0.0, 0.05, 0.35, 1.0, self.chance.random()]),
            uncertain=self.chance.random() < 0.3,
            owner=self.chance.choice([None, *self.owners]),
            model_version=self.chance.choice("12"),
            duration_ms=self.chance.randrange(99),
            duplicate_of=self.chance.choice(["", "", "01M84Q580AZZY3CNE3Y34WJ3B2"]),
        )

    def review(self, *, outdated: int = 0) -> None:
        if record := self.any_record():
            revision = record.review_revision - outdated
            status = self.chance.choice(Prediction.Review.values)
            decide(prediction=record, status=status, reviewer=self.moderator, revision=revision)

    def delete(self) -> None:
        """Delete a record that was read before its last review."""
        if record := self.any_record():
            self.review()
            delete_with_files([record])
            delete_with_files([record])

    def undo(self) -> None:
        """Undo a write, as after a request that failed."""
        if record := self.any_record():
            delete_predictions([record.pk, "01M84Q580AZZY3CNE3Y34WJ3B2"])


@pytest.fixture
def owners() -> list:
    return [a_user("ann"), a_user("eve")]


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("seed", [1, 2])
def test_totals_are_right_after_random_writes_reviews_and_deletions(owners, seed):
    history = History(seed=seed, moderator=a_moderator(), owners=owners)
    for _ in range(10):
        history.write()

    for _ in range(70):
        history.happen()

    assert_all_figures(owners)
    assert rebuild_totals(correct=False).wrong == []


def test_a_write_that_fails_is_counted_nowhere(monkeypatch, tiny_checkpoint):
    a_prediction()
    before = count_predictions(user=None)

    def write_and_fail(*arguments):
        write_predictions(*arguments)
        raise RuntimeError("no more")

    def undo_once(*, cause, predictions):  # without the second look
        delete_predictions([prediction.pk for prediction in predictions])

    monkeypatch.setattr("detection.judging.keepers.write_predictions", write_and_fail)
    monkeypatch.setattr("detection.judging.keepers.undo_writes", undo_once)
    with pytest.raises(RuntimeError):
        predict_image(upload=an_upload(), source="api")

    assert Prediction.objects.count() == 1
    assert count_predictions(user=None) == before


def test_a_refused_decision_is_counted_nowhere(moderator):
    record = a_prediction()
    stale = Prediction.objects.get()
    decide(prediction=record, status="confirmed", reviewer=moderator, revision=0)

    for revision in (0, 1):
        with pytest.raises(ReviewError):
            decide(prediction=stale, status="overturned", reviewer=moderator, revision=revision)

    assert [group["review_status"] for group in count_groups(totals.all_days())] == ["confirmed"]


def test_purged_predictions_are_no_longer_counted():
    day = now() - timedelta(days=9)
    store_predictions(unsaved_prediction(created_at=day) for _ in range(3))
    a_prediction()

    assert sum(purge_predictions(before=now() - timedelta(days=5))) == 3

    assert count_predictions(user=None)["total_predictions"] == 1
    assert rebuild_totals(correct=False).wrong == []


def test_the_predictions_of_a_deleted_user_stay_in_the_totals_of_all(owners, settings):
    for owner in owners:
        a_prediction(owner=owner)
    settings.API_ACCESS = "token"

    owners[0].delete()

    assert count_predictions(user=None)["total_predictions"] == 2
    assert count_predictions(user=owners[1])["total_predictions"] == 1
    assert {row.owner for row in Total.objects.all()} == {"", str(owners[1].pk)}
    delete_predictions(Prediction.objects.values_list("pk", flat=True))
    assert rebuild_totals(correct=False).wrong == []


def forget_to_count(**fields) -> Prediction:
    """Write records without totals, like a process that is killed in between on MongoDB."""
    prediction = unsaved_prediction(**fields)
    prediction.save(force_insert=True)
    return prediction


def rebuild(*arguments: str) -> str:
    return printed_by("rebuild_totals", *arguments)


@pytest.fixture
def drift(owners) -> list[Prediction]:
    """Totals that lack two of three predictions of two days, and count a deleted one."""
    yesterday = now() - timedelta(days=1)
    records = [
        a_prediction(owner=owners[0]),
        forget_to_count(owner=owners[0], uncertain=True),
        forget_to_count(created_at=yesterday, model_version="2", duration_ms=1234),
    ]
    gone = a_prediction(created_at=yesterday)
    Prediction.objects.filter(pk=gone.pk).delete()
    return records


@pytest.mark.usefixtures("drift", "closed")
def test_differences_are_found_and_corrected(owners):
    with pytest.raises(CommandError, match="totals are not right; run it without"):
        rebuild("--check")
    assert count_predictions(user=None)["total_predictions"] == 2

    assert rebuild().endswith(" totals were corrected. All totals are right.\n")

    assert count_predictions(user=None)["total_predictions"] == 3
    assert count_predictions(user=owners[0])["uncertain_count"] == 1
    spread = totals.all_days(kind=totals.SPREAD)
    assert latency_percentiles(spread) == {50: 5, 90: 1200, 95: 1200, 99: 1200}
    assert rebuild("--check").endswith(" days counted. All totals are right.\n")


@pytest.mark.usefixtures("drift")
def test_some_days_are_corrected_in_the_days_and_in_all_days():
    today = str(now().date())

    corrected = rebuild("--from", today, "--to", today)

    assert corrected.startswith(f"spread of {today}, model 1, of all users: corrected\n")

    assert count_predictions(user=None)["total_predictions"] == 3  # two, and one that was deleted
    with pytest.raises(CommandError, match="is after the last"):
        rebuild("--from", "9999-01-01")


@pytest.fixture
def meanwhile(monkeypatch):
    """A function that runs an event after each count of a day, before its rows are corrected."""

    def happens(event):
        full_count = recounting._full_count

        def counted(day):
            counts = full_count(day)
            event()
            return counts

        monkeypatch.setattr(recounting, "_full_count", counted)

    return happens


@pytest.mark.usefixtures("drift")
def test_a_row_that_changes_meanwhile_is_corrected_later(meanwhile, monkeypatch):
    meanwhile(a_prediction)

    recount = rebuild_totals(period=Period(now().date(), now().date()))

    assert [str(row) for row in recount.busy] == [
        f"{kind} of {now().date()}, model 1, of all users" for kind in ("spread", "usage")
    ]
    monkeypatch.undo()
    rebuild_totals()
    assert count_predictions(user=None)["total_predictions"] == Prediction.objects.count()


@pytest.mark.django_db(transaction=True)
def test_no_write_waits_for_a_count(meanwhile):
    """Count again on SQLite, which has one writer, instead of blocking it."""

    def write() -> None:
        a_prediction()
        connection.close()

    def write_once() -> None:
        if Prediction.objects.count() < 2:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(write).result()

    forget_to_count()
    meanwhile(write_once)
    today = now().date()

    recount = rebuild_totals(period=Period(today, today))

    assert Prediction.objects.count() == 2
    assert len(recount.busy) == (len(totals.FIELDS_OF) if ON_SERVERS else 0)
    rebuild_totals()
    assert count_predictions(user=None)["total_predictions"] == 2


@pytest.mark.parametrize(
    ("task", "right"), [(tasks.rebuild_totals, False), (tasks.rebuild_all_totals, True)]
)
def test_each_night_the_last_days_and_all_days_are_right_and_each_week_every_day(
    monkeypatch, task, right
):
    monkeypatch.setattr(recounting, "sleep", lambda seconds: None)
    a_prediction()
    forget_to_count()
    Total.objects.filter(span=totals.EVER).update(counts={})
    forget_to_count(created_at=now() - timedelta(days=30))

    task()

    assert count_predictions(user=None)["total_predictions"] == (3 if right else 2)
    assert (rebuild_totals(correct=False).wrong == []) == right


def test_predictions_written_together_are_counted_for_all_days_and_owners(owners):
    for _ in range(2):  # into new rows, then into those
        days = [FIRST, FIRST, FIRST + timedelta(days=1)]
        write_predictions(
            [
                unsaved_prediction(created_at=day, owner=owner, fake_score=score)
                for day in days
                for owner in [None, *owners]
                for score in (0.2, 0.9)
            ]
        )

    assert count_predictions(user=None)["total_predictions"] == 36
    assert rebuild_totals(correct=False).wrong == []


def test_a_prediction_is_counted_if_another_process_creates_its_row_meanwhile(monkeypatch):
    """Let another process create the row between the query and the write."""
    make_row = totals.make_row

    def slow(row, *arguments):
        make_row(row)
        return make_row(row, *arguments)

    monkeypatch.setattr(totals, "make_row", slow)

    write_predictions([unsaved_prediction()])

    assert count_predictions(user=None)["total_predictions"] == 1


def test_hundreds_of_numbers_are_added_at_once():
    """Add as many as the correction of a day does, since SQLite's functions take few arguments."""
    a_prediction(duration_ms=7)

    store_predictions(
        unsaved_prediction(duration_ms=each) for each in [*range(100), *range(100, 30_000, 50)]
    )

    assert rebuild_totals(correct=False).wrong == []


@pytest.mark.parametrize(
    ("milliseconds", "kept"),
    [(0, 0), (7, 7), (99, 99), (104, 100), (105, 110), (994, 990), (995, 1000), (12_345, 12_000)],
)
def test_latencies_are_rounded_to_two_digits(milliseconds, kept):
    assert totals.two_digits(milliseconds) == kept


def test_a_year_of_daily_rows_is_read_at_the_days_asked_for():
    made = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1)]
    for day in made:
        a_prediction(created_at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC))

    rows = read_days(Period(date(2026, 1, 1), date(2026, 1, 31)))

    assert [(row.kind, row.span) for row in rows] == [
        (kind, day) for kind in ("usage", "spread") for day in ("2026-01-01", "2026-01-31")
    ]
