"""
What local mode stands on, specified: ports, processes, environments and its folder.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local import processes, venvs
from local.errors import LocalError
from local.processes import start_time, stop
from local.stack.stack import SECRET
from local.stack.starting import ignored
from local.stack.state import (
    READY_VARIABLE,
    ROOT,
    State,
    ports_from,
    ready_s_from,
    states,
)
from tests.local.stack.projects import started
from tests.local.waiting import wait_until


def test_settings_that_functions_do_not_get_are_named():
    """Not those that they have anyway, nor those passed on, nor those of commands."""
    environment = {
        "HOME": "/home/ana",
        "PROPENSITY_BUCKET": "propensity-local",
        "PROPENSITY_BUDGET": "",
        "PROPENSITY_MAXIMUM_TRAINING_ROWS": "5",
        "PROPENSITY_LABEL_EVENT": "sign_up",
        "PROPENSITY_PORT_BASE": "9080",
        "PROPENSITY_SUPPRESSION_KEY": "secret",
    }
    given = {
        "PROPENSITY_BUCKET": "propensity-local",
        "PROPENSITY_LABEL_EVENT": "purchase",
    }

    assert ignored(environment, given, passed_on=SECRET) == [
        "PROPENSITY_LABEL_EVENT",
        "PROPENSITY_MAXIMUM_TRAINING_ROWS",
    ]


class TestPorts:
    def test_have_a_base(self):
        """Functions have the number of their folder, from the base on."""
        assert ports_from({})["get_proba"] == 8082
        assert ports_from({"PROPENSITY_PORT_BASE": "9000"})["get_proba"] == 9002
        assert (
            ports_from({"PROPENSITY_PORT_BASE": "9000"}, base=7000)["storage"] == 7012
        )

    def test_can_be_moved_one_by_one(self):
        """A service's own variable and option come before the base."""
        environment = {"PROPENSITY_PORT_STORAGE": "4443"}

        assert ports_from(environment)["storage"] == 4443
        assert ports_from(environment, single={"storage": 4444})["storage"] == 4444

    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({"PROPENSITY_PORT_BASE": "many"}, "PROPENSITY_PORT_BASE must be a port"),
            ({"PROPENSITY_PORT_BASE": "65530"}, "above 65535"),
            ({"PROPENSITY_PORT_STORAGE": "0"}, "PROPENSITY_PORT_STORAGE must be"),
            ({"PROPENSITY_PORT_STORAGE": "8080"}, "model_training and storage"),
            ({"PROPENSITY_PORT_BASE": "9" * 5000}, "PROPENSITY_PORT_BASE must be"),
            ({"PROPENSITY_PORT_SCROE": "8099"}, "is it PROPENSITY_PORT_SCORE?"),
        ],
    )
    def test_that_cannot_be_are_refused(self, environment, message):
        """What is wrong with a port is said by the name of what set it."""
        with pytest.raises(LocalError, match=message):
            ports_from(environment)

    def test_have_a_base_that_is_a_port(self):
        """Of the option as of its variable; digits are those of ASCII."""
        with pytest.raises(LocalError, match="--port-base must be a port"):
            ports_from({}, base=-1)
        with pytest.raises(LocalError, match="PROPENSITY_PORT_BASE must be a port"):
            ports_from({"PROPENSITY_PORT_BASE": "8²"})


class TestFreePorts:
    def test_are_given_to_one_process_at_a_time(self, monkeypatch):
        """Also while nobody listens yet; one that has ended has given them back."""
        ask = (
            "from local.processes import free_ports; print(*free_ports(2), flush=True)"
        )
        command = [sys.executable, "-c", f"{ask}; input()"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            theirs = [int(port) for port in other.stdout.readline().split()]
            monkeypatch.setattr(processes, "FREE_PORTS", theirs)
            with pytest.raises(LocalError, match="no 1 free ports"):
                processes.free_ports(1)
            other.communicate(b"\n")

        assert sorted(processes.free_ports(2)) == sorted(theirs)
        with pytest.raises(LocalError, match="no 1 free ports"):
            processes.free_ports(1)


class TestPatience:
    def test_has_a_default(self):
        """Seconds in which a process must answer."""
        assert ready_s_from({}) == ready_s_from({READY_VARIABLE: ""}) == 180
        assert ready_s_from({READY_VARIABLE: "300"}) == 300

    @pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "86401"])
    def test_is_a_number_of_seconds(self, value):
        """Anything else is refused by its name."""
        with pytest.raises(LocalError, match=f"{READY_VARIABLE} must be a number"):
            ready_s_from({READY_VARIABLE: value})


class TestState:
    def test_is_the_same_for_the_same_data(self, tmp_path, monkeypatch):
        """A file has one state, however its path is written; another has another."""
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "export.ndjson.zst").write_text("")
        monkeypatch.chdir(tmp_path)

        names = [
            State.of_data(path).name
            for path in (
                "a/export.ndjson.zst",
                str(tmp_path / "a" / "export.ndjson.zst"),
                "b/export.ndjson.zst",
            )
        ]

        assert names[0] == names[1] != names[2]
        assert names[0].startswith("export-")

    def test_is_of_one_question(self, tmp_path):
        """Defect: names that agreed in 64 characters shared a state and its models, and
        a label event with a blank or an umlaut could name none."""
        places = [tmp_path / ("export-" * 12 + end) for end in "ab"]
        names = {
            State.of_data(str(place), column, label).name
            for place in (None, *places)
            for column in ("user_pseudo_id", "user_id")
            for label in ("purchase", "generate lead", "generate-lead", "k\u00e4ufe")
        }

        assert len(names) == 24
        assert State.of_data(None) == State.of_data("") == State()

    @pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "é" * 3])
    def test_has_a_name_that_a_folder_can_have(self, name):
        """A name that would lead out of the folder of states is refused."""
        with pytest.raises(LocalError):
            State(name)

    def test_is_no_file_and_no_folder_of_another_name(self, tmp_path):
        """Defect: one of them among the states, and `make down` stopped nothing."""
        for name in ("demo", "copy of demo", ".hidden"):
            (tmp_path / name).mkdir()
        (tmp_path / "a-file").touch()

        assert [state.name for state in states(tmp_path)] == ["demo"]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"of": "another version"}'])
    def test_that_is_damaged_is_told_in_words(self, tmp_path, text):
        """Defect: a traceback, of `make status` and `make down` for all states."""
        state = State("demo", tmp_path)
        state.folder.mkdir()
        state.record_file.write_text(text)
        state.options_file.write_text(text)

        with pytest.raises(LocalError, match=r"running\.json cannot be read"):
            state.record()
        with pytest.raises(LocalError, match=r"options\.json cannot be read"):
            state.options()


class TestVirtualEnvironments:
    def test_are_shared_by_equal_requirements(self):
        """Comments, blank lines and order make no other environment; a pin does."""
        text = "b==2\n# why\n\na==1  # because\n"

        assert venvs.key(text) == venvs.key("a==1\nb==2")
        assert venvs.key(text) != venvs.key("a==1\nb==3")

    def test_are_made_once_by_many(self, tmp_path):
        """Eight that need an environment at once get one, which one of them made."""
        file = tmp_path / "requirements.txt"
        file.write_text("# nothing\n")
        output = []

        with ThreadPoolExecutor(8) as pool:
            pythons = list(
                pool.map(
                    lambda _: venvs.python_of(file, folder=tmp_path, say=output.append),
                    range(8),
                )
            )

        assert len(set(pythons)) == 1
        assert len(output) == 1
        assert subprocess.run([pythons[0], "-c", ""], check=True).returncode == 0

    def test_are_made_anew_after_an_interruption(self, tmp_path):
        """What an interrupted installation left is not taken for an environment."""
        file = tmp_path / "requirements.txt"
        file.write_text("")
        python = venvs.python_of(file, folder=tmp_path)
        (python.parent.parent / venvs.COMPLETE).unlink()
        (python.parent.parent / "half").write_text("")

        venvs.python_of(file, folder=tmp_path)

        assert not (python.parent.parent / "half").exists()

    def test_say_what_pip_said(self, tmp_path):
        """Requirements that cannot be installed are an error with pip's last lines."""
        file = tmp_path / "requirements.txt"
        file.write_text("./no-such-package\n")

        with pytest.raises(LocalError, match="no-such-package"):
            venvs.python_of(file, folder=tmp_path)


class TestProcesses:
    def test_are_stopped_with_their_children(self, tmp_path):
        """What a process started goes with it, also when it ignores SIGTERM's cause."""
        program = ["bash", "-c", "sleep 600 & echo $!; wait"]
        process = started(tmp_path, "parent", program)
        log = Path(process.log)
        wait_until(lambda: log.read_text().strip())
        child = int(log.read_text())

        stop([process])

        wait_until(lambda: start_time(child) is None)
        assert not process.is_running

    def test_have_ended_when_they_are_zombies(self):
        """A process whose status nobody has asked for does not run."""
        child = subprocess.Popen(["true"])
        try:
            wait_until(lambda: start_time(child.pid) is None)
        finally:
            child.wait()
