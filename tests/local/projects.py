"""Small projects that local mode can start: functions of a few lines each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.functions import Function
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, PORTS, ROOT, State

FACTS = """
import importlib.util, os, sys
import functions_framework
import propensity

@functions_framework.http
def {target}(request):
    return {{
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "package": propensity.__file__,
        "python": sys.prefix,
        "pytest": importlib.util.find_spec("pytest") is not None,
    }}
"""
ASYNCHRONOUS = """
import functions_framework.aio

@functions_framework.aio.http
async def {target}(request):
    return {{"server": type(request).__module__}}
"""
_FUNCTIONS = {function.target: function for function in FUNCTIONS}
FACTS_FUNCTION = _FUNCTIONS["model_training"]
OTHER_FUNCTION = _FUNCTIONS["predictions"]
ASYNCHRONOUS_FUNCTION = _FUNCTIONS["get_proba"]


def make_project(folder: Path, *packages: str) -> Path:
    """Write a project with this project's functions, a few lines each."""
    for function in FUNCTIONS:
        place = folder / function.folder
        place.mkdir(parents=True, exist_ok=True)
        source = ASYNCHRONOUS if function.is_asynchronous else FACTS
        # Functions of one folder are in one file, each under its own name.
        with (place / "main.py").open("a") as file:
            file.write(source.format(target=function.target))
        # What reads the functions reads how they are deployed.
        for script in (ROOT / function.folder).glob("*.sh"):
            shutil.copy(script, place)
        shutil.copy(ROOT / function.folder / function.requirements, place)
    for name in ("propensity", *packages):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    return folder


def project_stack(project: Path, *functions: Function, **options: Any) -> Stack:
    """Return a stack of some functions of a project, on free ports, not started."""
    return Stack(
        options.pop("state", State("test", project / ".local" / "states")),
        base=free_ports(PORTS)[0],
        functions=functions,
        root=project,
        **options,
    )


def wait_until(is_so: Callable[[], Any], what: str = "") -> None:
    """Wait for what comes soon."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
