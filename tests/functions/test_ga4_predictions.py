"""GA4's own prediction as a source, specified by the page about it, over a made-up
export of user data."""

from __future__ import annotations

import io
import re
import shutil
from datetime import date

import pyarrow.parquet as pq

from propensity import folders
from propensity.usecases.declaration import OwnSource
from tests.docs.pages import blocks
from tests.support import own_use_cases
from tests.support.shop import DAY, event, weekly
from tests.support.shops import FIRST, TRAINED, WEEKS

PAGE = "docs/crm.md"
MADE_UP = "`my-project.analytics_123456."
EXPORTED = """
CREATE TABLE `{dataset}.pseudonymous_users_{day:%Y%m%d}` AS
SELECT
  id AS pseudo_user_id,
  STRUCT(
    CAST({score} AS FLOAT64) AS purchase_score_7d
  ) AS predictions
FROM
  UNNEST({users}) AS id
"""


def export_users(deployment, day: date, scores: dict[str, float]) -> None:
    """Write the table of a day: the users whose data changed, with GA4's scores."""
    cases = "".join(
        f" WHEN id = '{user}' THEN {score}" for user, score in scores.items()
    )
    sql = EXPORTED.format(
        dataset=deployment.ga4_dataset,
        day=day,
        score=f"CASE{cases} END",
        users=[*scores],
    )
    deployment.warehouse.execute(sql)


def create_view(deployment, zone: str = "Europe/Amsterdam") -> str:
    """Create the view of the page, in a time zone; return its name."""
    _, sql = blocks(PAGE, "sql")
    dataset = deployment.ga4_dataset
    deployment.warehouse.execute(
        sql.replace(MADE_UP, f"`{dataset}.")
        .replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
        .replace("Europe/Amsterdam", zone)
    )
    return f"{dataset}.ga4_predictions"


def test_a_prediction_is_read_once_its_day_has_ended(
    borrow_deployment,
):
    """A day in New York ends when the outcomes of the next have begun in UTC."""
    deployment = borrow_deployment([event("a", date(2026, 3, 8))])
    as_of = date(2026, 3, 10)
    for day, value in ((8, 0.1), (9, 0.2), (10, 0.9)):
        export_users(deployment, date(2026, 3, day), {"a": value})
    scores = {}
    for zone in ("Europe/Amsterdam", "UTC", "America/New_York"):
        source = OwnSource(
            table=create_view(deployment, zone),
            user_id="user_pseudo_id",
            valid_from="known_at",
            columns={"purchase_score_7d": "FLOAT64"},
        )
        asked = {"as_ofs": [as_of], "known_before": as_of}
        [row] = deployment.warehouse.rows(source.text(), asked)
        scores[zone] = row["user_id"], row["purchase_score_7d"]

    assert scores == {
        "Europe/Amsterdam": ("a", 0.2),
        "UTC": ("a", 0.2),
        "America/New_York": ("a", 0.1),
    }


def test_the_report_says_whether_the_model_or_ga4_ranked_better(
    borrow_deployment, tmp_path
):
    """The prediction is the baseline, and no feature: the rows of the training have it,
    and the report compares."""
    deployment = borrow_deployment(weekly(FIRST, WEEKS))
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
    rows = pq.read_table(
        io.BytesIO(deployment.read(answer["objects"]["dataset/rows.parquet"]))
    )
    assert compared["name"] == "purchase_score_7d alone"
    assert (
        "the model ranks the test set better than purchase_score_7d alone"
        in (compared["words"])
    )
    assert compared["words"] in deployment.page(answer["objects"]["report.html"])
    assert "purchase_score_7d" not in version["card"]["features"]
    assert set(rows["purchase_score_7d"].to_pylist()) == {0.9, 0.01}
