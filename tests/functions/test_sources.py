"""Features of a table of one's own, through the functions: point in time. GA4's own
prediction is one, as the page about it says."""

from __future__ import annotations

import io
import re
import shutil
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from local.exports import digest
from local.exports import sources as tables
from local.stack.state import ROOT
from propensity import folders, usecases
from propensity.timeframe import midnight
from propensity.trying import new_use_case as new
from propensity.usecases import UseCase
from tests.docs.pages import blocks
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.shop import DAY
from tests.support.shops import TRAINED

AS_OFS = (TRAINED - 14 * DAY, TRAINED - 7 * DAY, TRAINED)
USER = "user.000"


def points(
    deployment: Deployment, use_case: UseCase, *rows: tuple[str, datetime, int]
) -> dict[tuple[date, str], int | None]:
    """Return what features have of a table: user, when it became known, and points."""
    [source] = use_case.sources.values()
    made = []
    for user, at, number in rows:
        row = {"user_id": user, "changed_at": at, "points": number, "tier": "gold"}
        made.append(row)
    client = deployment.warehouse.client
    tables.load(client, source, tables.table_of(source, made))
    found = deployment.warehouse.rows(
        use_case.statement("features"), use_case.window(deployment.settings, AS_OFS)
    )
    return {(row["as_of"], row["user_id"]): row["loyalty_points"] for row in found}


def test_each_as_of_date_has_the_newest_row_before_it(shop_deployment, tmp_path):
    """One row of each user and date; a moment at midnight belongs to its day. A
    correction that comes later changes no past row."""
    known = [
        (USER, midnight(AS_OFS[0]) - 40 * DAY, 1),
        (USER, midnight(AS_OFS[0]), 2),
        (USER, midnight(TRAINED) + DAY, 4),
    ]
    digest.fill(shop_deployment.warehouse, ["purchase", "refund"])
    with own_use_cases.in_folder(tmp_path / "own"):
        new.write_use_case(
            "shop_loyal",
            label_event="purchase",
            lookback_days=60,
            horizon_days=7,
            source="crm-project.crm.loyalty",
        )
        use_case = usecases.load("shop_loyal")
        before = points(shop_deployment, use_case, *known)
        correction = (USER, midnight(AS_OFS[1]) + DAY, 3)
        after = points(shop_deployment, use_case, *known, correction)

    assert [before[as_of, USER] for as_of in AS_OFS] == [1, 2, 2]
    assert [after[as_of, USER] for as_of in AS_OFS] == [1, 2, 3]
    assert {value for (_, user), value in after.items() if user != USER} == {None}


PAGE = "docs/crm.md"


def export_users(deployment: Deployment, day: date, scores: dict[str, float]) -> None:
    """Write the table of a day: the users whose data changed, with GA4's scores."""
    rows = []
    for user, score in scores.items():
        predictions = {"purchase_score_7d": score}
        rows.append({"pseudo_user_id": user, "predictions": predictions})
    name = f"{deployment.ga4_dataset}.pseudonymous_users_{day:%Y%m%d}"
    tables.replace_table(
        deployment.warehouse.client,
        f"{deployment.project}.{name}",
        pa.Table.from_pylist(rows),
    )


def create_view(deployment) -> str:
    """Create the view of the page; return its name."""
    sql = (ROOT / "docs" / "ga4_predictions.sql").read_text("utf-8")
    dataset = deployment.ga4_dataset
    deployment.warehouse.execute(
        sql.replace("`my-project.analytics_123456.", f"`{dataset}.")
    )
    return f"{dataset}.ga4_predictions"


def test_the_report_says_whether_the_model_or_ga4_ranked_better(
    borrow_deployment, tmp_path
):
    """The prediction is the baseline, and no feature: the rows of the training have
    that of the newest day that had ended, and the report compares."""
    deployment = borrow_deployment()
    users = [f"user.{number:03}" for number in range(160)]
    for days in (31, 24, 17, 10):
        # GA4 knows half of those who buy often, and no later day may be seen.
        known = {user: 0.9 if n % 8 == 0 else 0.01 for n, user in enumerate(users)}
        export_users(deployment, TRAINED - (days + 1) * DAY, known)
        export_users(deployment, TRAINED - days * DAY, dict.fromkeys(users, 0.5))
    table = create_view(deployment)
    own, baseline = blocks(PAGE, "toml")[1].split("[baseline]")
    on = "ON g.as_of = u.as_of AND g.user_id = u.user_id"
    with own_use_cases.in_folder(tmp_path / "usecases") as folder:
        copy = folder / "compared"
        shutil.copytree(str(folders.FOLDER / "ga4_purchase"), copy)
        declared = copy / "usecase.toml"
        features = copy / "features.sql"
        text = re.sub(
            r"\[baseline\]\n.*\n.*\n", f"[baseline]{baseline}", declared.read_text()
        )
        own = own.replace("analytics_123456.ga4_predictions", table)
        declared.write_text(text + own)
        column = "  g.purchase_score_7d,\n  u.sessions_ever,\n"
        sql = features.read_text().replace("  u.sessions_ever,\n", column, 1)
        features.write_text(f"{sql}LEFT JOIN ga4_predictions AS g {on}\n")
        deployment = deployment.with_settings(PROPENSITY_USE_CASES=str(folder))
        answer = deployment.run("model_training", TRAINED, use_case="compared")

    [version] = deployment.versions()
    compared = version["card"]["baseline"]
    data = deployment.read(answer["objects"]["dataset/rows.parquet"])
    rows = pq.read_table(io.BytesIO(data))
    better = "the model ranks the test set better than purchase_score_7d alone"
    assert better in compared["words"]
    assert compared["words"] in deployment.page(answer["objects"]["report.html"])
    assert "purchase_score_7d" not in version["card"]["features"]
    assert set(rows["purchase_score_7d"].to_pylist()) == {0.9, 0.01}
