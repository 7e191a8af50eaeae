"""
The card of a model version: its data, its training and its metrics, in plain values.

``card.json`` is the complete card; the metadata row, the page and the answer of
00-ModelTraining show parts of it. Dates are texts, as in ISO 8601.

Nothing that it says of the data set shows a single user: histograms end at quantiles.
Rows are not weighted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import PurePath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs, to_builtins

from propensity.drift import Reference, reference
from propensity.ids import INEXACT
from propensity.learning import gate
from propensity.learning.gate import Verdict
from propensity.learning.report import scores_events, version_page
from propensity.learning.trained import Trained
from propensity.learning.value import Valued
from propensity.measures.revenue import money
from propensity.models.encoding import Floats, numbers_of
from propensity.pages.words import Plain
from propensity.registry import versions
from propensity.registry.versions import Published
from propensity.tables.every import EVENT, USER
from propensity.tables.models import Metrics, Training
from propensity.usecases import NUMBER, UseCase

MODEL = "model.joblib"
PREPROCESSOR = "preprocessor.joblib"
VALUE = "value.joblib"
DATASET = "dataset/rows.parquet"
CARD = "card.json"
REPORT = "report.html"

BINS = 16
# Quantiles at which a histogram ends; what lies beyond counts in its last bins.
_ENDS = (0.01, 0.98)
# Rows sampled for all but counts: the error of a correlation is then below 0.01.
_ROWS = 20_000


def card(
    use_case: UseCase,
    trained: Trained,
    verdict: Verdict,
    *,
    rows: pa.Table,
    as_of: date,
    trained_at: datetime,
    version: int | None = None,
    data_until: date | None = None,
    settle_days: int = 0,
    chosen: Mapping[str, object] | None = None,
    bytes_billed: int = 0,
    valued: Valued | None = None,
) -> Plain:
    """
    Return the card of a version.

    Its ``metrics``, ``curves`` and ``importance`` are of the holdout, and ``drift`` is
    what publications are compared with. Of events only there are ``outcomes`` and
    ``savings``. ``calibration`` is "none": models are published
    as they are fitted, and versions of earlier releases have others.

    Args:
        rows: All rows of its training and test.
        version: None for a trial, which has no number.
        data_until: End of the days read from the export; None for another source.
        settle_days: Days waited for late rows.
        chosen: Values of the use case's own parameters.
        valued: The model of amounts; None without amounts.
    """
    parts, held, split = trained.parts, trained.holdout, trained.parts.split
    learned, known = [*split.train, *split.calibrate], parts.before
    if not use_case.scores_events:
        learned, known = [*learned, *split.holdout], parts.every
    train_rows = parts.blocks[0].first if parts.blocks else len(parts.before)
    if trained.is_anomaly:
        train_rows = len(parts.unlabelled[0])
    baseline = f"{use_case.baseline.feature} alone"
    candidates = []
    for one in trained.judged:
        entry = {**structs.asdict(one.candidate), **one.metrics}
        entry["chosen"] = one.candidate.name == trained.chosen.name
        candidates.append(entry)
    savings, value = None, None
    if held.savings is not None:
        savings = {**held.savings.columns(), "baseline_saved": held.baseline_saved}
    if valued is not None:
        value = {**vars(valued), "mean_amount": valued.model.mean}
        del value["model"]
    return _plain(
        {
            "use_case": use_case.name,
            "title": use_case.title,
            "outcome": use_case.outcome,
            "span": use_case.span,
            "entity": use_case.entity,
            "unit": use_case.money,
            "model_version": version,
            "trained_at": trained_at.replace(microsecond=0).isoformat(),
            "as_of": as_of,
            "data_until": data_until,
            "lookback_days": use_case.lookback_days,
            "horizon_days": use_case.horizon_days,
            "settle_days": settle_days,
            "statement_parameters": dict(chosen or {}),
            "split": split,
            "trained_until": max(learned, default=None),
            "rows": {
                "train": train_rows,
                "calibrate": len(parts.choosing),
                "holdout": len(held.rows),
            },
            # Several rows of a user weigh less than one together.
            "negative_sampling_rate": min(1.0, 1 / known.row_weight(0)),
            "positive_sampling_rate": min(1.0, 1 / known.row_weight(1)),
            "algorithm": trained.chosen.algorithm,
            "parameters": trained.chosen.parameters,
            "members": [member.name for member in trained.members],
            "calibration": "none",
            "candidates": candidates,
            "blocks": len(parts.blocks),
            "is_anomaly": trained.is_anomaly,
            "is_warm": trained.is_warm,
            "metrics": held.metrics,
            "curves": held.curves,
            "baseline": {
                "name": baseline,
                "roc_auc": held.baseline_roc_auc,
                "words": gate.beside_baseline(trained, baseline),
            },
            "importance": held.importance,
            "outcomes": parts.outcomes,
            "savings": savings,
            "value": value,
            "verdict": verdict.entry(),
            "features": use_case.features,
            "profile": described(rows, use_case.features),
            "drift": _reference(trained, use_case),
            "libraries": versions.libraries(),
            "bytes_billed": bytes_billed,
        }
    )


def _plain(card: Mapping[str, object]) -> Plain:
    """Return a card of values that JSON has: days are texts, and money is numbers."""
    # Python's own JSON keeps an infinite parameter of a candidate.
    values = to_builtins(card, builtin_types=(Decimal,))
    plain: Plain = json.loads(json.dumps(values, default=float))
    return plain


def _reference(trained: Trained, use_case: UseCase) -> Reference | None:
    """
    Return what publications are compared with; None for events, which have none.

    Where a user has rows of several moments, a publication has those of the last one
    alone, which so stands for all.
    """
    if use_case.scores_events:
        return None
    every, score = trained.parts.every, trained.holdout.probability
    rows, features = every.rows, dict(use_case.features)
    if elapsed := use_case.stream.elapsed:
        del features[elapsed]
        hours = numbers_of(rows[elapsed])
        is_last = hours == hours.max()
        weight = every.weight / every.weight[is_last].sum() * every.weight.sum()
        place = rows.column_names.index("weight")
        rows = rows.set_column(place, "weight", pa.array(weight))
        rows = rows.filter(pa.array(is_last))
        score = score[is_last[len(every) - len(score) :]]
    newest = len(trained.parts.split.holdout)
    return reference(rows, features, score=score, snapshots=newest)


def row(card: Plain, published: Published, *, run_id: str, seconds: float) -> Training:
    """Return the row of a version, which took so many seconds since the request."""
    shown = dict(card)
    del shown["profile"], shown["curves"]
    objects, checksums, files = published.objects, published.checksums, {}
    for name in objects:
        kind = PurePath(name).parts[0].partition(".")[0]
        files[kind] = {"object": objects[name], "sha256": checksums[name]}
    savings, verdict = card["savings"] or {}, card["verdict"]
    trained_at = datetime.fromisoformat(card["trained_at"])
    return Training(
        use_case=card["use_case"],
        model_version=card["model_version"],
        training_date=trained_at.date(),
        run_id=run_id,
        trained_at=trained_at,
        as_of=date.fromisoformat(card["as_of"]),
        algorithm=card["algorithm"],
        is_warm=card["is_warm"],
        metrics=Metrics.of(card["metrics"]),
        alert_threshold=savings.get("alert_threshold"),
        saved=money(savings["saved"]) if savings else None,
        promoted=verdict["promoted"],
        verdict=verdict["reason"],
        compared_version=verdict["compared_version"],
        model_object=objects[MODEL],
        model_sha256=checksums[MODEL],
        preprocessor_object=objects[PREPROCESSOR],
        preprocessor_sha256=checksums[PREPROCESSOR],
        bytes_billed=card["bytes_billed"],
        seconds=seconds,
        card=json.dumps({**shown, "files": files}),
    )


def answer(card: Plain, objects: Mapping[str, str]) -> dict[str, object]:
    """Return the answer of 00-ModelTraining about the version."""
    answered = {
        "model_version": card["model_version"],
        "promoted": card["verdict"]["promoted"],
        "verdict": card["verdict"]["reason"],
        "algorithm": card["algorithm"],
        "calibration": card["calibration"],
        "rows": card["rows"],
        "split": card["split"],
        "holdout": {**card["metrics"]},
        "value": card["value"],
        "objects": dict(objects),
    }
    del answered["holdout"]["lift"]
    if scores_events(card):
        answered |= {
            "is_warm": card["is_warm"],
            "cost": card["savings"] or {},
            "outcomes": card["outcomes"],
        }
    return answered


def pseudonymise(rows: pa.Table) -> pa.Table:
    """
    Return rows with numbers in the place of ids of users and events.

    A snapshot never changes while its version exists, so it must hold nothing that a
    user can have removed. Rows of a user share a number. The numbers are drawn at
    random, and rows are in their order, because ids in order could be named again by
    anyone who has a list of them.
    """
    names = [name for name in (USER, EVENT) if name in rows.column_names]
    for name in names:
        encoded = pc.dictionary_encode(rows[name].combine_chunks())
        numbers = np.random.default_rng().permutation(len(encoded.dictionary))
        numbered = pa.array(numbers, pa.int64()).take(encoded.indices)
        rows = rows.set_column(rows.column_names.index(name), name, numbered)
    return rows.sort_by([(name, "ascending") for name in names])


def to_json(card: Plain) -> bytes:
    """Return the bytes of ``card.json``."""
    return json.dumps(card, indent=1).encode()


def files(
    card: Plain, trained: Trained, rows: pa.Table, *, valued: Valued | None = None
) -> dict[str, tuple[bytes, str]]:
    """Return bytes and content type of a version's files, by name."""
    binary = "application/octet-stream"
    contents = {
        MODEL: (versions.pickled(trained.live.classifier), binary),
        PREPROCESSOR: (versions.pickled(trained.live.preprocessor), binary),
        DATASET: (versions.parquet_of(pseudonymise(rows)), versions.PARQUET),
        CARD: (to_json(card), versions.JSON),
        REPORT: (version_page(card).encode(), versions.HTML),
    }
    if valued is not None:
        contents[VALUE] = (versions.pickled(valued.model), binary)
    return contents


def pending_row(row: Training) -> Training:
    """Return a row as it is before the pointer moves, and if the run ends here."""
    why = f"interrupted before it was recorded whether it is live: {row.verdict}"
    return structs.replace(row, promoted=None, verdict=why)


def described(rows: pa.Table, features: Mapping[str, str]) -> dict[str, object]:
    """
    Describe a training data set in plain values.

    Returns:
        - ``rows``, ``users``, ``conversions``: counts; ``dates``: those of each date.
        - ``numbers``: ``feature``, ``missing`` and ``zeros`` (shares), ``quartiles``,
          ``correlation`` with the label (Spearman's), and a histogram: ``edges``, and
          shares by bin of the rows of label 1, ``positive``, and of the others,
          ``negative``; None without values.
    """
    labels = numbers_of(rows["label"])
    dates = pd.DataFrame({"as_of": rows["as_of"].to_pandas(), "label": labels})
    counted = dates.groupby("as_of")["label"].agg(rows="count", conversions="sum")
    frame, sampled = rows, labels
    if len(rows) > _ROWS:
        places = np.random.default_rng(0).choice(len(rows), _ROWS, replace=False)
        frame, sampled = rows.take(pa.array(places)), labels[places]
    numbers = dict[str, Floats]()
    for name, kind in features.items():
        if kind == NUMBER:
            numbers[name] = numbers_of(frame[name])
    # Spearman's, but for gaps: a column is ranked once, over its own values.
    spearman = pd.DataFrame({**numbers, "": sampled}).rank().corr().round(6)
    shown = []
    for name, values in numbers.items():
        correlation = spearman.loc[name, ""]
        entry = _number(name, values, sampled)
        entry["correlation"] = None if np.isnan(correlation) else float(correlation)
        shown.append(entry)
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(labels)),
        "dates": counted.astype(int).reset_index().to_dict("records"),
        "numbers": shown,
    }


def _number(name: str, values: Floats, labels: Floats) -> dict[str, object]:
    known, count = values[np.isfinite(values)], max(len(values), 1)
    entry: dict[str, object] = {
        "feature": name,
        "missing": round(1 - len(known) / count, 6),
        "zeros": round(float(np.sum(values == 0)) / count, 6),
        "quartiles": None,
        "edges": None,
    }
    if not len(known):
        return entry
    edges = _edges(known)
    # Values beyond the edges count in the last bins, a last whole number in its own.
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    for side, label in (("negative", 0), ("positive", 1)):
        shown = inside[(labels == label) & np.isfinite(values)]
        counts, _ = np.histogram(shown, edges)
        shares = (counts / max(counts.sum(), 1)).tolist()
        entry[side] = [round(share, 4) for share in shares]
    quartiles = np.quantile(known, [0.25, 0.5, 0.75])
    return entry | {"quartiles": quartiles.tolist(), "edges": edges.tolist()}


def _edges(known: Floats) -> Floats:
    """Return the edges of bins: one for each of a few whole numbers, or equal ones."""
    low, high = np.quantile(known, _ENDS)
    distinct = np.unique(known[(known >= low) & (known <= high)])
    # Two values have none between their quantiles; integers are exact below 2^53.
    is_whole = len(distinct) > 0 and np.all(distinct == np.floor(distinct))
    is_exact = is_whole and abs(distinct).max() < INEXACT
    if is_exact and distinct[-1] - distinct[0] < BINS:
        return np.arange(distinct[0], distinct[-1] + 2)
    end = high if high > low else low + max(1.0, abs(low) * 1e-9)
    return np.linspace(low, end, BINS + 1)
