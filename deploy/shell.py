"""Commands of ``commands.toml``: filled in, and run, or printed in a dry run."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from string import Template
from subprocess import CalledProcessError, CompletedProcess
from typing import IO, Any

from deploy import DeploymentError, UsageError, functions
from deploy.configuration import DeploymentSettings
from deploy.functions import ROOT, Function

COMMANDS = tomllib.loads(Path(__file__).with_name("commands.toml").read_text("utf-8"))
HELPERS = ("scheduler", "push", "build")
# IAM takes minutes to spread what a set-up has granted.
PATIENCE_S = 600
REFUSAL = "PERMISSION_DENIED|does not have permission|permission.* denied"


class Shell:
    """
    Runs commands about a deployment, or prints them.

    Attributes:
        file: Of the deployment's settings.
        is_dry: Whether commands are printed; questions are asked all the same.
        work: Where files of this deployment are.
        names: What ``$name`` in a command stands for.
    """

    def __init__(self, d: DeploymentSettings, file: Path, *, is_dry: bool) -> None:
        self.d = d
        self.file = file
        self.is_dry = is_dry
        self.work = Path(".local/deploy", f"{d.project}-{d.prefix}")
        self.names = {**names_of(d), "file": file, "python": f"{ROOT}/.venv/bin/python"}

    def words(self, command: str, **names: Any) -> list[str]:
        """Return the words of a command: one of ``commands.toml``, or a text."""
        names = self.names | names
        words = list[str]()
        for word in shlex.split(COMMANDS.get(command, command)):
            value = names.get(word[1:])
            if word.startswith("$") and isinstance(value, list):
                words += value
            else:
                words.append(Template(word).substitute(names))
        return words

    def run(self, command: str, *, is_read: bool = False, **names: Any) -> str:
        """
        Run a command, or print it; what is not granted everywhere yet is tried again.

        Args:
            is_read: Whether its output is returned, and not shown.

        Raises:
            CalledProcessError: It failed, and has said why.
        """
        words = self.words(command, **names)
        if self.is_dry:
            print(shlex.join(words))
            return ""
        done = shown(words, is_read=is_read)
        left_s = self.spreading_s()
        while done.returncode and is_on_its_way(done.stderr, left_s=left_s):
            tell(
                f"deploy: waiting up to {left_s} s more for permissions that "
                "deploy/setup.sh has just granted"
            )
            time.sleep(min(left_s, 5))
            done = shown(words, is_read=is_read)
            left_s = self.spreading_s()
        if done.returncode:
            raise CalledProcessError(done.returncode, words)
        return done.stdout.rstrip("\n")

    def ask(self, command: str, **names: Any) -> str:
        """
        Return the answer to a question, which a dry run asks, too.

        Raises:
            CalledProcessError: It failed; ``stderr`` says why, and nobody was told.
        """
        words = self.words(command, **names)
        check_on_path(words[0])
        done = _asked(words)
        done.check_returncode()
        return done.stdout.rstrip("\n")

    def spreading_s(self) -> int:
        """Return for how many more seconds permissions may be on their way."""
        granted = self.work / "granted"
        if not granted.exists():
            return 0
        return PATIENCE_S - int(time.time()) + int(granted.read_text())

    def has_granted(self) -> None:
        """Note that permissions were granted just now."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "granted").write_text(f"{time.time():.0f}")

    def function(self, target: str) -> Function | None:
        """
        Return a function, if it is one of DEPLOY_FUNCTIONS; say so if not.

        Raises:
            UsageError: There is no such function.
        """
        known = [function.target for function in functions.load()]
        if target not in known:
            raise UsageError(f"FUNCTION is '{target}'. Use one of {', '.join(known)}")
        for function in self.d.functions:
            if function.target == target:
                return function
        print(f"# {target} is not among DEPLOY_FUNCTIONS")
        return None

    def url_of(self, target: str) -> str:
        name = self.d.name(target)
        if self.is_dry:
            return f"https://{name}-PROJECT_NUMBER.{self.names['region']}.run.app"
        return self.ask("url", name=name)


def names_of(d: DeploymentSettings) -> dict[str, Any]:
    """Return what is called how: a test holds Terraform's names to these."""
    repository = d.own["repository"] if d.own["repository"] else d.prefix
    if "/" not in repository:
        repository = f"{d.own['region']}-docker.pkg.dev/{d.project}/{repository}"
    state_bucket = d.own["state_bucket"]
    if not state_bucket:
        state_bucket = f"{d.settings.bucket}-state"
    parts = [function.target for function in functions.load()]
    parts += [functions.OPERATOR] + list(HELPERS)
    return {
        **d.own,
        "project": d.project,
        "location": d.settings.location,
        "bucket": d.settings.bucket,
        "repository": repository,
        "state_bucket": state_bucket,
        **{f"account_{part}": d.account(part) for part in parts},
    }


def check_on_path(program: str) -> None:
    if not shutil.which(program):
        raise DeploymentError(f"there is no {program} on PATH: docs/deploy.md")


def tell(text: str) -> None:
    print(text, file=sys.stderr)


def is_on_its_way(said: str, *, left_s: int) -> bool:
    """Whether what was refused may be granted by now, and not be known everywhere."""
    return left_s > 0 and bool(re.search(REFUSAL, said, re.IGNORECASE))


def shown(words: list[str], *, is_read: bool = False) -> CompletedProcess[str]:
    """Run a program, and show what it says; return that, and what is read."""
    check_on_path(words[0])
    if is_read:
        done = _asked(words)
        sys.stderr.write(done.stderr)
        return done
    with subprocess.Popen(words, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr
        try:
            said = _passed_on(process.stderr)
        except SystemExit:
            # Ctrl-C ends the program as well. Terraform unlocks its state first, unless
            # nobody reads what it says.
            _passed_on(process.stderr)
            raise
    return CompletedProcess(
        words, process.returncode, "", said.decode(errors="replace")
    )


def _asked(words: list[str]) -> CompletedProcess[str]:
    # What gcloud asks back, for example whether to enable an API, nobody would see.
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _passed_on(stream: IO[bytes]) -> bytes:
    """Show what a program says until its end; return that."""
    said = b""
    for chunk in iter(functools.partial(stream.read, 4096), b""):
        sys.stderr.buffer.write(chunk)
        sys.stderr.flush()
        said += chunk
    return said
