"""Addresses of lists with undeclared lookups: they are refused before any query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import RequestFactory

from tests.support.api import a_user, assert_refused
from tests.support.factories import a_prediction

pytestmark = pytest.mark.django_db

MODELS = [pytest.param(model, id=model._meta.label_lower) for model in admin.site._registry]
LOOKUPS = (
    *("regex", "iregex", "contains", "icontains", "startswith", "istartswith"),
    *("endswith", "iendswith", "iexact", "gt", "gte", "lt", "lte", "in", "range"),
)
FILENAME = "a" * 26 + "!.jpg"
PATTERN = "(a+)+$"  # takes exponential time on the file name


def fields_of(model: type[Model], *, relations: int = 2) -> Iterator[str]:
    """Yield the fields of a model and of related models, as lookups name them."""
    for field in model._meta.get_fields():
        yield field.name
        if field.is_relation and field.related_model and relations:
            for further in fields_of(field.related_model, relations=relations - 1):
                yield f"{field.name}__{further}"


def lookups_of(model: type[Model]) -> list[str]:
    own = list(fields_of(model, relations=0))
    related = [name for name in fields_of(model) if "__" in name]
    return [
        *(f"{name}__{lookup}" for name in own for lookup in LOOKUPS),
        *(f"{name}{lookup}" for name in related for lookup in ("", "__regex", "__startswith")),
    ]


def list_address(model: type[Model]) -> str:
    return f"/admin/{model._meta.label_lower.replace('.', '/')}/"


@pytest.mark.parametrize("model", MODELS)
def test_only_lookups_of_declared_filters_are_allowed(model, admin_user, django_assert_num_queries):
    model_admin, factory = admin.site._registry[model], RequestFactory()
    lookups = lookups_of(model)
    assert len(lookups) > 100
    requests = [factory.get("/", {lookup: "a"}) for lookup in lookups]
    for request in requests:
        request.user = admin_user

    with django_assert_num_queries(0):
        for request in requests:
            with pytest.raises(DisallowedModelAdminLookup):
                model_admin.get_changelist_instance(request)


@pytest.mark.parametrize("model", MODELS)
def test_an_undeclared_lookup_is_a_400(model, admin_client):
    name = model._meta.concrete_fields[0].name

    assert admin_client.get(list_address(model)).status_code == 200
    assert admin_client.get(list_address(model), {f"{name}__regex": PATTERN}).status_code == 400


@pytest.mark.parametrize(
    ("path", "lookup"),
    [
        ("prediction", "original_filename__regex"),
        ("prediction", "owner__password__startswith"),
        ("prediction", "batch__webhook_url__startswith"),
        ("predictionbatch", "webhook_url__startswith"),
        ("predictionbatch", "predictions__original_filename__regex"),
    ],
)
def test_lookups_reveal_nothing_that_pages_hide(moderator_client, path, lookup):
    a_prediction(original_filename=FILENAME)

    response = moderator_client.get(f"/admin/detection/{path}/", {lookup: PATTERN})

    assert response.status_code == 400
    assert FILENAME not in response.content.decode()


def test_the_filters_of_the_user_list_work(admin_client):
    group = Group.objects.create(name="Editors")
    a_user("ann", is_staff=True).groups.add(group)
    a_user("bob")

    def names(**query: object) -> list[str]:
        response = admin_client.get("/admin/auth/user/", query)
        assert response.status_code == 200, response.headers
        return [user.username for user in response.context["cl"].result_list]

    assert names(groups__id__exact=group.pk) == ["ann"]
    assert names(is_staff__exact="0") == ["bob"]
    assert names(q="an") == ["ann"]


@pytest.mark.parametrize(
    "lookup", ["original_filename__regex", "filename__startswith", "owner__password__startswith"]
)
def test_api_and_pages_allow_no_lookups(client, lookup):
    a_prediction(original_filename=FILENAME)

    for path in ("/api/predictions/", "/api/statistics/"):
        assert_refused(client.get(path, {lookup: PATTERN}), 400, "invalid")
    assert FILENAME in client.get("/history/", {lookup: PATTERN}).content.decode()
