"""
What serves: the champion.

Functions that serve follow within PROPENSITY_REFRESH_S, without a restart.
"""

from __future__ import annotations

from typing import Any

import click

from commands import flags
from commands.answers import show

_force = click.option(
    "--force", is_flag=True, help="Also a first version that is no better than chance."
)
_version = click.argument("version", type=flags.whole(0))


# Options that all changes of the champion share.
_changing = flags.together(
    flags.use_case(),
    click.option(
        "--epoch",
        type=flags.whole(0),
        metavar="N",
        help="Do it only if N is above the present epoch, so that an old or repeated "
        "command changes nothing.",
    ),
    flags.dry_run("Check and say what would be done, and change nothing."),
    flags.as_json,
)


def _change(action: str, *, as_json: bool, **chosen: Any) -> None:
    from offline import promote as champions

    show(champions.run(action, **chosen), as_json=as_json)


@click.command
@flags.use_case()
@flags.as_json
def versions(*, use_case: str | None, as_json: bool) -> None:
    """
    List the model versions, and say which serves.

    The newest 50, with their figures and why each was promoted or not.
    """
    from offline import promote as champions

    with champions.opened(use_case) as deployment:
        newest = champions.versions(deployment)
    show(newest, as_json=as_json)


@click.command
@_version
@_force
@_changing
def promote(**chosen: Any) -> None:
    """
    Let VERSION serve, whatever training thinks of it.

    One that was the first and was not shown to be better than chance and the use case's
    baseline takes --force. Training may promote again afterwards; `pin` prevents that.
    Where a version is pinned, this changes what is pinned.
    """
    _change("promote", **chosen)


@click.command
@_changing
def rollback(**chosen: Any) -> None:
    """
    Let the version serve that served before.

    As if the last never had: a second one goes one further back. Training may promote
    again afterwards.
    """
    _change("rollback", **chosen)


@click.command
@click.argument("version", type=flags.whole(0), required=False)
@click.option("--off", "is_off", is_flag=True, help="Let training promote again.")
@_force
@_changing
def pin(*, version: int | None, is_off: bool, **chosen: Any) -> None:
    """
    Let VERSION serve and keep it serving, whatever is trained.

    Training goes on recording new versions; --off lets it promote again.
    """
    if (version is None) != is_off:
        raise click.UsageError("one of VERSION and --off is needed")
    _change("unpin" if is_off else "pin", version=version, **chosen)
