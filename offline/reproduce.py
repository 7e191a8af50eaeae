"""
Compute a published probability again, and what the user was said to be worth, from the
features that were kept of it.

Neither the export nor a feature statement is read: what was scored is in the bucket.
The features are verified by the checksum in their manifest, the model by the one that
training recorded. Of a use case that scores events, the features are those of the log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offline.promote import Deployment
from propensity import tables
from propensity.errors import ArtifactError, RequestError
from propensity.learning import season
from propensity.registry import feature_sets
from propensity.registry.feature_sets import Manifest, Part
from propensity.registry.loading import Serving, loaded_as_trained, recorded
from propensity.registry.versions import libraries
from propensity.runs import value
from propensity.tables import USER
from propensity.usecases import CATEGORY

Floats = NDArray[np.float64]

# A processor of another make may add floats in another order: far below any meaning.
LAST_DIGITS = 1e-12
# Of NUMERIC.
LAST_DECIMAL = 1e-9

_KINDS: Mapping[str, pa.DataType] = {CATEGORY: pa.string()}


@dataclass(frozen=True, kw_only=True)
class Worth:
    """
    Expected value with the ends of its interval: published, and computed again.

    Of a version without a model of amounts there is none.
    """

    published: Mapping[str, Decimal]
    computed: Mapping[str, Decimal]

    @property
    def is_identical(self) -> bool:
        """Whether all three are equal to the last decimal."""
        return self.published == self.computed

    @property
    def is_reproduced(self) -> bool:
        """Whether they are, but for the last digits of another processor."""
        return all(
            math.isclose(
                self.published[name],
                self.computed[name],
                rel_tol=LAST_DIGITS,
                abs_tol=LAST_DECIMAL,
            )
            for name in value.COLUMNS
        )

    def fields(self) -> dict[str, Any]:
        """Return both for a program, as numbers."""
        return {
            when: {name: float(amount) for name, amount in amounts.items()}
            for when, amounts in asdict(self).items()
        } | {"is_identical": self.is_identical}

    def __str__(self) -> str:
        verdict = "differs"
        if self.is_identical:
            verdict = "equal to the last decimal"
        elif self.is_reproduced:
            verdict = "equal but for the last digits"
        said = {
            when: "{} ({} to {})".format(*(f"{amounts[n]:.9f}" for n in value.COLUMNS))
            for when, amounts in asdict(self).items()
        }
        return (
            f"value      {said['published']} published\n"
            f"           {said['computed']} computed  {verdict}"
        )


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """
    A row of features, and its probability: published, and computed again.

    Attributes:
        event_id: Of the event that was scored; None for the probability of a user.
        earlier_scores: Scores of the user's further events on that day.
        published, computed: Probabilities, or anomaly scores.
        is_identical: Whether they are equal to the last bit.
        worth: Its expected value; None where none was published, or none is known.
        source: The object, or the table, that the features are from.
        notes: What may explain a difference.
    """

    use_case: str
    user_id: str
    as_of: date
    model_version: int
    scored_at: datetime
    features: Mapping[str, Any]
    published: float
    computed: float
    source: str
    worth: Worth | None = None
    event_id: str | None = None
    earlier_scores: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_identical(self) -> bool:
        """Whether both are equal to the last bit, and so is the expected value."""
        return self.published == self.computed and (
            self.worth is None or self.worth.is_identical
        )

    @property
    def difference(self) -> float:
        """What was computed, less what was published."""
        return self.computed - self.published

    @property
    def is_reproduced(self) -> bool:
        """Whether both are equal, but for the last digits of another processor."""
        return math.isclose(
            self.published, self.computed, rel_tol=0, abs_tol=LAST_DIGITS
        ) and (self.worth is None or self.worth.is_reproduced)

    def fields(self) -> dict[str, Any]:
        """Return all of it for a program."""
        return asdict(self) | {
            "worth": None if self.worth is None else self.worth.fields(),
            "is_identical": self.is_identical,
            "is_reproduced": self.is_reproduced,
            "difference": self.difference,
        }

    def __str__(self) -> str:
        verdict = f"differs by {self.difference:.3g}"
        if self.published == self.computed:
            verdict = "equal to the last bit"
        elif abs(self.difference) <= LAST_DIGITS:
            verdict = f"equal but for the last digits ({self.difference:.1g})"
        of = f", event {self.event_id}" if self.event_id is not None else ""
        lines = [
            f"{self.use_case}, user {self.user_id}, as of {self.as_of}{of}",
            "",
            f"published  {self.published!r}",
            f"computed   {self.computed!r}  {verdict}",
            *([] if self.worth is None else [str(self.worth)]),
            f"model      version {self.model_version}, scored at "
            f"{self.scored_at.isoformat(timespec='seconds')}",
            f"features   {self.source}",
            "",
        ]
        width = max(map(len, self.features))
        lines += [
            f"  {name.ljust(width)}  {'-' if value is None else value}"
            for name, value in self.features.items()
        ]
        if self.earlier_scores:
            lines.append(f"\n{self.earlier_scores} earlier scores of that day.")
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


class _Scored(NamedTuple):
    """Rows of a part: features, probabilities, and expected values if there are any."""

    rows: pa.RecordBatch
    probability: Floats
    amounts: Sequence[pa.Array] | None


class Audit:
    """
    Compute probabilities of a deployment again.

    A version is loaded once, and so is the newest part of features, for many users.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._use_case = deployment.use_case
        self._version = cache(self._load)
        self._newest: tuple[str, _Scored] | None = None

    def reproduce(self, user_id: str, as_of: date) -> Reproduction:
        """
        Compute the probability of a user again.

        Args:
            user_id: The user, as tables have it.
            as_of: The as-of date of the publication; of a use case that scores events
                the UTC day of the event, whose newest score counts.

        Raises:
            RequestError: The user has no probability as of that date, or its features
                were not kept, or not for so long.
            ArtifactError: Features or model are not those that were recorded.
        """
        if self._use_case.scores_events:
            return self._event(user_id, as_of)
        publication = self._publication(user_id, as_of)
        manifest = self._manifest(publication)
        part, place = manifest.part_of(publication["feature_row"])
        scored = self._scored(part, manifest, publication["log_odds_shift"])
        self._check_user(scored.rows[USER][place].as_py(), user_id, part)
        [row] = scored.rows.slice(place, 1).to_pylist()
        worth, why_none = self._worth(scored, place, publication)
        return Reproduction(
            use_case=self._use_case.name,
            user_id=user_id,
            as_of=as_of,
            model_version=manifest.model_version,
            scored_at=manifest.scored_at,
            features={name: row[name] for name in row if name != USER},
            published=publication["probability"],
            computed=float(scored.probability[place]),
            worth=worth,
            source=self._deployment.artifacts.uri(part.name),
            notes=(*self._notes(manifest.libraries), *why_none),
        )

    def _publication(self, user_id: str, as_of: date) -> Mapping[str, Any]:
        name, read = self._use_case.name, self._deployment.rows
        rows = read("published_prediction", as_of=as_of, user_id=user_id)
        if rows:
            return dict(rows[0].items())
        [row] = read("newest_publication", as_of=as_of)
        newest = row["as_of"]
        if newest == as_of:
            raise RequestError(
                f"{name} published no probability of this user as of {as_of}: no event "
                "in the lookback then, or removed since",
                field="user_id",
            )
        known = f"the newest before is {newest}" if newest else "nor anything before"
        raise RequestError(
            f"{name} published nothing as of {as_of}; {known}", field="as_of"
        )

    def _manifest(self, publication: Mapping[str, Any]) -> Manifest:
        as_of, scored_at = publication["as_of"], publication["scored_at"]
        if publication["feature_row"] is None:
            raise RequestError(
                f"no features were kept of the publication as of {as_of}: it is older "
                "than that, PROPENSITY_FEATURE_RETENTION_DAYS was 0, or it was scored "
                "in BigQuery (PROPENSITY_SCORE_WITH=bigquery), where they stay",
                field="as_of",
            )
        manifest = feature_sets.find(
            self._deployment.artifacts,
            use_case=self._use_case.name,
            as_of=as_of,
            scored_at=scored_at,
        )
        if manifest is None:
            raise RequestError(
                f"the features of the publication as of {as_of}, scored at "
                f"{scored_at.isoformat(timespec='seconds')}, have been deleted: they "
                "are kept for PROPENSITY_FEATURE_RETENTION_DAYS, which is "
                f"{self._deployment.settings.feature_retention_days} here",
                field="as_of",
            )
        if manifest.model_version != publication["model_version"]:
            raise ArtifactError(
                f"{manifest.name} is of version {manifest.model_version}, and the "
                f"publication of {publication['model_version']}"
            )
        return manifest

    def _scored(
        self, part: Part, manifest: Manifest, log_odds_shift: float | None
    ) -> _Scored:
        if self._newest is None or self._newest[0] != part.name:
            rows = feature_sets.read(self._deployment.artifacts, part)
            model = self._version(manifest.model_version)
            # All rows of the part: see feature_sets.
            whole = feature_sets.filled(rows)
            [(_, unshifted)] = model.scorer.score([whole])
            probability = season.apply(unshifted, log_odds_shift)
            amounts = None
            if model.value is not None:
                amounts = value.Values(model.value()).columns(
                    whole, probability, unshifted=unshifted
                )
            self._newest = part.name, _Scored(rows, probability, amounts)
        return self._newest[1]

    def _worth(
        self, scored: _Scored, place: int, publication: Mapping[str, Any]
    ) -> tuple[Worth | None, tuple[str, ...]]:
        """Return a user's expected value; or none, and why there is none if asked."""
        published: dict[str, Any] = {name: publication[name] for name in value.COLUMNS}
        is_published = None not in published.values()
        if scored.amounts is None:
            if is_published or not self._use_case.has_statement(value.STATEMENT):
                return None, ()
            return None, ("The version has no model of amounts: nothing was promised.",)
        if not is_published:
            return None, ("No expected value was published of this user.",)
        computed = {
            name: column[place].as_py()
            for name, column in zip(value.COLUMNS, scored.amounts, strict=True)
        }
        return Worth(published=published, computed=computed), ()

    def _check_user(self, stored: str | None, user_id: str, part: Part) -> None:
        if stored is None:
            raise RequestError(
                "the features of this user have been forgotten", field="user_id"
            )
        if stored != user_id:
            raise ArtifactError(
                f"{part.name} has another user's features in this row: set and history "
                "are not of one run"
            )

    def _load(self, version: int) -> Serving:
        record = recorded(self._deployment.warehouse, self._use_case, version)
        return loaded_as_trained(self._deployment.registry, record)

    def _notes(self, then: Mapping[str, str]) -> tuple[str, ...]:
        changed = [
            f"{name} {version} (here {self._libraries.get(name)})"
            for name, version in then.items()
            if self._libraries.get(name) != version
        ]
        return (f"Scored with {', '.join(changed)}.",) if changed else ()

    @cached_property
    def _libraries(self) -> Mapping[str, str]:
        return libraries()

    # Use cases that score events

    def _event(self, user_id: str, day: date) -> Reproduction:
        name = self._use_case.name
        rows = self._deployment.rows(
            "scored_events_of_user", user_id=user_id, as_of=day
        )
        if not rows:
            raise RequestError(
                f"{name} scored no event of this user on {day}", field="user_id"
            )
        newest = rows[0]
        features = json.loads(newest["features"])
        model = self._version(newest["model_version"])
        trained_on = json.loads(model.metadata["features"])
        batch = pa.RecordBatch.from_pylist(
            [{name: features[name] for name in trained_on}],
            schema=pa.schema(
                [
                    (name, _KINDS.get(kind, pa.float64()))
                    for name, kind in trained_on.items()
                ]
            ),
        )
        score = "anomaly_score" if model.is_anomaly else "probability"
        return Reproduction(
            use_case=name,
            user_id=user_id,
            as_of=day,
            model_version=newest["model_version"],
            scored_at=newest["scored_at"],
            features=features,
            published=newest[score],
            computed=float(model.scorer.probabilities(batch)[0]),
            source=tables.INFERENCE_LOG.name,
            event_id=newest["event_id"],
            earlier_scores=len(rows) - 1,
        )
