"""Consent, specified: the newest word of a user counts, at the moment that is asked."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from propensity import usecases
from propensity.statements import statement
from propensity.tables.models import PREDICTIONS
from propensity.trying import new_use_case as new
from propensity.usecases import UseCase
from tests.offline.forgetting import row_of
from tests.support import own_use_cases, shop
from tests.support.deployment import Deployment
from tests.support.shop import DAY, event, purchase
from tests.usecases.ga4_purchase.conftest import AS_OF, USE_CASE, Export, ago

PERSON = {"PROPENSITY_USER_COLUMN": "person"}


def said(ads: str | None) -> dict[str, Any]:
    return {"privacy_info": {"analytics_storage": "Yes", "ads_storage": ads}}


YES = said("Yes")
NO = said("No")
ROWS = [
    event("agreed", ago(5), **YES),
    event("withdrew", ago(5), **YES),
    event("withdrew", ago(2), **NO),
    event("came back", ago(5), **NO),
    event("came back", ago(2), **YES),
    event("changed at once", ago(2), **NO),
    event("changed at once", ago(2, plus=1), **YES),
    event("withdrew at once", ago(2), **YES),
    event("withdrew at once", ago(2, plus=1), **NO),
    event("refused", ago(2), **NO),
    event("silent since", ago(5), **YES),
    event("silent since", ago(2), **said(None)),
    purchase("away", ago(200), 3.0, **YES),
    purchase("away and withdrew", ago(200), 3.0, **YES),
    event("away and withdrew", ago(100), **NO),
    event("withdraws later", ago(5), **YES),
    event("withdraws later", ago(-2), **NO),
    # One person with two browsers, of which one has no login any more.
    event("ann.1", ago(5), user_id="ann", **YES),
    event("ann.2", ago(6), user_id="ann", **YES),
    event("ann.2", ago(2), **NO),
]
USERS = {"agreed", "came back", "changed at once", "silent since", "away"}


@pytest.fixture(scope="module")
def export():
    export = Export(PROPENSITY_REQUIRE_CONSENT="ads_storage")
    return export.load(shop.shards(ROWS))


def users(
    export: Deployment, use_case: UseCase = USE_CASE, *, today: date = AS_OF
) -> set[str]:
    """Return the users of the date, as a run of a day reads them."""
    window = use_case.window(export.settings, [AS_OF], today=today)
    rows = export.warehouse.table(use_case.statement("features"), window)
    return set(rows["user_id"].to_pylist())


def test_whoever_withdraws_consent_is_no_user_from_then_on(export):
    """Also a customer who was away; a later yes brings a user back."""
    assert users(export) == USERS | {"withdraws later", "ann.1"}


def test_a_training_leaves_out_who_has_withdrawn_since(export):
    """All others have the features that they had."""
    assert users(export, today=AS_OF + 3 * DAY) == USERS | {"ann.1"}
    assert users(export, today=AS_OF + DAY) == users(export)


def test_a_person_withdraws_on_any_of_their_browsers(export):
    assert users(export.with_settings(**PERSON)) == USERS | {"withdraws later"}


def test_a_new_use_case_leaves_out_who_withdraws(export, tmp_path):
    with own_use_cases.in_folder(tmp_path / "own"):
        new.write_use_case("own_shop", lookback_days=60, horizon_days=7)
        mine = usecases.load("own_shop")

        assert users(export, mine) == users(export)


def test_lookups_forget_who_withdraws_with_the_next_publication(export):
    """The prediction of an earlier date goes; of all others it stays."""
    export.warehouse.create(PREDICTIONS)
    for user in ("withdrew", "agreed"):
        week_before = AS_OF - timedelta(days=7)
        row = row_of(PREDICTIONS, user, use_case=USE_CASE.name, as_of=week_before)
        export.append(PREDICTIONS, row)
    window = USE_CASE.window(export.settings, [AS_OF])
    key = {"use_case": USE_CASE.name, "as_of": AS_OF}
    export.warehouse.execute(statement("remove_refusers"), {**window, **key})

    rows = export.rows("SELECT user_id FROM ma_predictions_table")
    assert rows == [{"user_id": "agreed"}]
