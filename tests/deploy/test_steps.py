"""
How steps are carried out, specified: what is waited for, beside each other, left out.

Commands are those of a shell, in a folder of the test's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.steps import Plan, Runner, Step, StepFailed, pauses

UNKNOWN = "Service account propensity-build@p.iam does not exist."
DENIED = "PERMISSION_DENIED: Permission 'artifactregistry.write' denied"


def runner(folder: Path, *steps: Step, **changed: object) -> tuple[Runner, list[str]]:
    """What carries out steps, and the lines that it says."""
    said: list[str] = []
    plan = Plan(steps, may_fail=bool(changed.pop("may_fail", False)))
    made = Runner(plan, said.append, folder, sleep=lambda _: None, **changed)
    return made, said


def shell(text: str) -> tuple[str, ...]:
    return ("bash", "-c", text)


def failing(times: int, text: str) -> tuple[str, ...]:
    """A command that fails so often with a text, and then succeeds."""
    return shell(
        f"echo x >> tries; test $(wc -l < tries) -gt {times} || "
        f"{{ echo {text!r} >&2; exit 1; }}"
    )


class TestWaiting:
    def test_lasts_for_minutes(self):
        """IAM says two minutes as a rule, seven or longer at times; one waits for ten,
        and no pause is longer than a minute."""
        found = list(pauses(600))

        assert sum(found) == 600
        assert max(found) <= 60
        assert sum(pauses(0)) == 0
        assert list(pauses(4)) == [2, 2]

    def test_is_for_what_was_just_made(self, tmp_path):
        """What does not find it is tried again, and each time a line says what is
        waited for, and for how long."""
        step = Step(what="a right of the builder", create=(failing(3, UNKNOWN),))
        made, said = runner(tmp_path, step)

        assert made.carry_out() == 1
        assert len(said) == 4
        waiting = said[2]
        assert "waiting" in waiting
        assert "a right of the builder" in waiting
        assert "7 of up to 600 s" in waiting
        assert UNKNOWN in waiting

    def test_is_for_a_right_that_a_step_names(self, tmp_path):
        """A refusal passes where the right was granted a moment ago; the line says
        which right it is."""
        step = Step(
            what="function f", create=(failing(2, DENIED),), waits_for="the builder's"
        )
        made, said = runner(tmp_path, step)

        assert made.carry_out() == 1
        assert "the builder's" in said[0]

    @pytest.mark.parametrize(
        ("text", "given"),
        [
            (DENIED, ()),
            ("INVALID_ARGUMENT: memory is too small", ()),
            ("NOT_FOUND: Secret the-key not found", ("the-key",)),
        ],
        ids=["refused", "wrong", "somebody else's"],
    )
    def test_is_for_nothing_that_does_not_pass(self, tmp_path, text, given):
        """A refusal of what nobody was just granted, a fault, and what a person was to
        make before are told at once."""
        step = Step(what="s", create=(failing(1, text),), given=given)
        made, said = runner(tmp_path, step)

        with pytest.raises(StepFailed, match="exit 1"):
            made.carry_out()
        assert said == []

    def test_ends(self, tmp_path):
        """The last answer is told."""
        step = Step(what="s", create=(failing(99, UNKNOWN),))
        made, said = runner(tmp_path, step, patience_s=600.0)

        with pytest.raises(StepFailed, match="does not exist"):
            made.carry_out()
        assert len(said) == len(list(pauses(600)))


class TestGroups:
    def test_are_carried_out_beside_each_other(self, tmp_path):
        """Each waits for the other to have begun: one after the other neither would
        end. Steps of a group keep their order, and what follows waits for all."""

        def meeting(mine: str, other: str) -> tuple[Step, ...]:
            wait = f"until test -e {other}; do sleep 0.02; done"
            return (
                Step(
                    what=f"{mine} 1",
                    create=(shell(f"touch {mine}; {wait}"),),
                    group=mine,
                ),
                Step(what=f"{mine} 2", create=(shell("true"),), group=mine),
            )

        last = Step(what="last", create=(shell("test -e a && test -e b"),))
        made, said = runner(tmp_path, *meeting("a", "b"), *meeting("b", "a"), last)

        assert made.carry_out() == 5
        for one in ("a", "b"):
            mine = [line for line in said if f" {one} " in line]
            assert [line.split()[-1] for line in mine] == ["1", "2"]
        assert said[-1].endswith("last")

    def test_are_finished_where_another_fails(self, tmp_path):
        """The error names the one that failed and what it printed; its further steps
        are not begun, nor what comes after all."""
        steps = (
            Step(what="a 1", create=(shell("echo broken >&2; exit 1"),), group="a"),
            Step(what="a 2", create=(shell("touch never"),), group="a"),
            Step(what="b 1", create=(shell("sleep 0.3; touch done"),), group="b"),
            Step(what="after", create=(shell("touch never"),)),
        )
        made, said = runner(tmp_path, *steps)

        with pytest.raises(StepFailed) as caught:
            made.carry_out()

        assert "a:" in str(caught.value)
        assert "broken" in str(caught.value)
        assert (tmp_path / "done").exists()
        assert not (tmp_path / "never").exists()
        assert any("b 1" in line for line in said)


class TestPlansThatMayFail:
    def test_leave_out_what_fails_and_do_the_rest(self, tmp_path):
        """What was left out is kept, with the reason."""
        steps = (
            Step(what="alert one", create=(shell("echo no such metric >&2; exit 1"),)),
            Step(what="alert two", create=(shell("touch two"),)),
        )
        made, said = runner(tmp_path, *steps, may_fail=True)

        assert made.carry_out() == 1
        assert (tmp_path / "two").exists()
        [left] = made.left_out
        assert left.startswith("alert one\n")
        assert "no such metric" in left
        assert "LEFT OUT" in said[0]
