"""
Write the folder of a new use case: one that runs as it is.

It predicts an event within a horizon, or that a user stays away, from the GA4 export or
from a table of events of one's own. To predict something else, edit the files: their
comments say what belongs where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from propensity import folders, usecases
from propensity.errors import RequestError, UseCaseError
from propensity.ids import NAME, NAME_RULE, is_event_name
from propensity.tables.export import USER_DAYS
from propensity.usecases.declaration import Events

TEMPLATES = Path(__file__).parent / "templates"
EVENT = "event"
CHURN = "churn"
PURCHASE = "purchase"
# Spans of the lookback that features count by themselves, in days before the date.
WINDOWS = (7, 28)
# A statement may quote this as the name of an event.
_EVENT = re.compile(r"[^'\"\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")


def write_use_case(
    name: str,
    *,
    lookback_days: int,
    horizon_days: int,
    label_event: str | None = None,
    label: str = EVENT,
    source: str | None = None,
    events: Events | None = None,
    is_dry: bool = False,
) -> dict[str, Any]:
    """
    Write the folder of a new use case; return where it is, and the next steps.

    Args:
        name: As requests name it: lower-case letters, digits and underscores.
        lookback_days, horizon_days: From 1 on.
        label_event: The event to predict; by default purchase, and of a table of
            events without names any event.
        label: EVENT, or CHURN: that no event comes.
        source: A table of one's own to read as well, as ``project.dataset.table`` or
            ``dataset.table``.
        events: A table of events to read in place of the export.

    Raises:
        RequestError: A name or a span is invalid, or the folder exists.
    """
    _check_name(name)
    if events is None and label_event is None:
        label_event = PURCHASE
    _check(events, label_event, label)
    if events is None:
        statements = _parts("export.sql")
        parts = _of_export(str(label_event))
    else:
        statements = _parts("events.sql")
        parts = _of_events(events, label_event, lookback_days)
    # Nobody stays away who was away already.
    users = statements["active_users" if label == CHURN else "users"]
    parts["users"] = users.template.rstrip()
    outcome = f"have the event {label_event}" if label_event else "have an event"
    if label == CHURN:
        outcome = f"not {outcome}" if events and label_event else "stay away"
    substitutions = {
        "title": name.replace("_", " ").capitalize(),
        "outcome": outcome,
        # The newest visitors are likelier to come, and less likely to stay away.
        "ascending": str(label != CHURN).lower(),
        "lookback_days": lookback_days,
        "horizon_days": horizon_days,
        **parts,
        **_of_source(source),
    }
    chosen = {
        "features.sql": statements["features"],
        "labels.sql": statements[CHURN if label == CHURN else "labels"],
        "days.sql": statements["days"],
    }
    if label != CHURN and events and events.amount:
        chosen["converter_amounts.sql"] = statements["converter_amounts"]
    # The last makes a folder a use case: there is no half of one.
    declaration = TEMPLATES / "declaration.toml"
    chosen["usecase.toml"] = Template(declaration.read_text("utf-8"))
    files = {file: part.substitute(substitutions) for file, part in chosen.items()}
    return _written(name, files, is_dry=is_dry)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        problem = f"{name[:64]!r} is not a valid name: use {NAME_RULE}"
        raise RequestError(problem, field="name")
    folder = folders.own() / name
    module = folders.FOLDER / f"{name}.py"
    if name in folders.names() or folder.exists() or module.exists():
        problem = f"{name} already exists. Choose another name or remove it"
        raise RequestError(problem, field="name")


def _written(name: str, files: Mapping[str, str], *, is_dry: bool) -> dict[str, Any]:
    """Write files that are right, unless it is dry; return where they are."""
    try:
        usecases.parse(name, files["usecase.toml"])
    except UseCaseError as error:
        raise RequestError(error.message) from error
    folder = folders.own() / name
    if not is_dry:
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text, "utf-8")
    return {
        "use_case": name,
        "folder": folder,
        "files": list(files),
        "is_dry": is_dry,
        "next": f"change the files, then: `propensity usecase check {name}`. To deploy "
        f'it, list it with the others: DEPLOY_USE_CASES="ga4_purchase {name}"',
    }


def _parts(file: str) -> dict[str, Template]:
    """Return the parts of a file of templates, each below a line with its name."""
    text = (TEMPLATES / file).read_text("utf-8")
    # Before the first name is a comment; then names and parts take turns.
    pieces = re.split(r"^(?:--|#) part: (\w+)\n", text, flags=re.MULTILINE)[1:]
    parts = zip(pieces[::2], pieces[1::2], strict=True)
    return {name: Template(f"{part.rstrip()}\n") for name, part in parts}


def _check(events: Events | None, label_event: str | None, label: str) -> None:
    """Raise RequestError for the name of an event, or for options that do not fit."""
    is_name = _EVENT.fullmatch if events else is_event_name
    problem = ""
    if label_event is not None and not is_name(label_event):
        problem = (
            f"{label_event[:64]!r} is not a valid event name: use a letter, then 39 "
            "letters, digits, underscores, hyphens and blanks at most; in a table of "
            "your own anything but quotes and backslashes"
        )
    elif events is None and label == CHURN and label_event != PURCHASE:
        problem = "churn of one event needs a table of events: add --events"
    elif events and label_event and not events.name:
        problem = f"no column says which events are {label_event!r}: add --event-name"
    elif events and events.name and label == EVENT and label_event is None:
        problem = "add --label-event: the table has events of several names"
    if problem:
        raise RequestError(problem, field="label_event")


def _of_export(label_event: str) -> dict[str, str]:
    width = max(len(column.name) for column in USER_DAYS.columns)
    columns = (
        f"--   {column.name:<{width}}  {column.sql_type:<12}  {column.description}"
        for column in USER_DAYS.columns
    )
    parts = _parts("parts.toml")
    return {
        "origin": "the Google Analytics (GA4) BigQuery export",
        "inputs": parts["export_inputs"].substitute(label_event=label_event),
        "features": parts["export_features"].template,
        "columns": "\n".join(columns),
    }


def _of_events(
    events: Events, label_event: str | None, lookback_days: int
) -> dict[str, str]:
    counted = {"events": ""}
    if label_event:
        column = "n_" + re.sub(r"\W", "_", label_event, flags=re.ASCII).lower()
        counted[column] = f" AND event_name = '{label_event}'"
    features = {}
    spans = {"": "days_ago > 0"}
    for days in WINDOWS:
        if days < lookback_days:
            spans[f"_{days}d"] = f"days_ago <= {days}"
    for suffix, span in spans.items():
        for column, kind in counted.items():
            features[column + suffix] = f"COUNTIF({span}{kind})"
        if events.amount:
            total = f"SUM(IF({span}, amount, NULL))"
            features[f"amount{suffix}"] = f"CAST(IFNULL({total}, 0) AS FLOAT64)"
    kinds = ["recency_days", "first_event_days", "active_days", "mean_gap_days"]
    kinds += features
    purchases = []
    if label_event:
        purchases.append("event_name = @converting_event")
    if events.amount:
        purchases.append("amount > 0")
        kinds.append("history_revenue_per_day")
    if not purchases:
        purchases.append("TRUE")
    columns = {
        "table": events.table,
        "user_id": events.user_id,
        "time": events.time,
        "name": events.name,
        "amount": events.amount,
    }
    declared = "\n".join(
        f"{key} = {_toml_text(value)}" for key, value in columns.items() if value
    )
    parameters = f"converting_event = {_toml_text(label_event)}" if label_event else ""
    parts = _parts("parts.toml")
    return {
        "origin": f"events of {events.table}",
        "inputs": parts["events_inputs"].substitute(
            declared=declared, parameters=parameters
        ),
        "features": "".join(f'{name} = "number"\n' for name in kinds)
        + parts["events_history"].template,
        "columns": "".join(f",\n  {sql} AS {name}" for name, sql in features.items()),
        "condition": "\n  AND event_name = @converting_event" if label_event else "",
        "purchases": " OR ".join(purchases),
    }


def _toml_text(value: str) -> str:
    """Return a text as TOML writes it, which has no halves of a character."""
    return json.dumps(value, ensure_ascii=False)


def _of_source(table: str | None) -> dict[str, str]:
    if not table:
        names = ("source", "source_features", "source_columns", "source_join")
        return dict.fromkeys(names, "")
    name = re.sub(r"\W", "_", table.rpartition(".")[2]).lower()
    text = _parts("parts.toml")["source"]
    join = _parts("export.sql")["source"]
    return {
        "source": text.substitute(name=name, table=table),
        "source_features": f'{name}_points = "number"\n{name}_tier = "category"\n',
        "source_columns": f",\n  MAX({name}.points) AS {name}_points"
        f",\n  MAX({name}.tier) AS {name}_tier",
        "source_join": join.substitute(name=name),
    }
