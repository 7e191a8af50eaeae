"""
Requests on connections that are kept alive, one at a time on each, sent by ``wrk``.

It is written in C and far from its limit here (package ``wrk`` of Debian).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.processes import HOST

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
# Requests lie in a file, each behind a line with its length.
WRK_SCRIPT = """
local requests = {{}}
local count = 0
function init(args)
  local file = io.open("{file}", "rb")
  while true do
    local length = file:read("*l")
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end
function request()
  count = count + 1
  return requests[(count - 1) % #requests + 1]
end
"""


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


# Loads a port for some seconds, on so many connections.
Generator = Callable[[int, float, int], Load]


def generator(requests: Sequence[bytes], folder: Path) -> Generator:
    """Return what sends requests one after another, and then again."""
    if not shutil.which("wrk"):
        raise SystemExit("this benchmark needs wrk: apt-get install wrk")
    with (folder / "requests").open("wb") as file:
        for data in requests:
            file.write(b"%d\n%b" % (len(data), data))
    script = folder / "requests.lua"
    script.write_text(WRK_SCRIPT.format(file=folder / "requests"))

    def load(port: int, seconds: float, connections: int) -> Load:
        return _load(script, port, seconds, connections=connections)

    return load


def _load(script: Path, port: int, seconds: float, *, connections: int) -> Load:
    process = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--latency"),
            *("--timeout", "30s", "--script", str(script), f"http://{HOST}:{port}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    def figure(pattern: str) -> re.Match[str]:
        match = re.search(pattern, process.stdout)
        if match is None:
            raise RuntimeError(f"wrk said something unexpected:\n{process.stdout}")
        return match

    p50 = figure(r"50%\s+([\d.]+)(us|ms|s|m)\b")
    p99 = figure(r"99%\s+([\d.]+)(us|ms|s|m)\b")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", process.stdout)
    errors = re.search(r"Socket errors: (.+)", process.stdout)
    failures = int(refused[1]) if refused else 0
    failures += sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    return Load(
        requests=int(figure(r"(\d+) requests in")[1]),
        requests_per_s=float(figure(r"Requests/sec:\s+([\d.]+)")[1]),
        p50_ms=float(p50[1]) * MILLISECONDS[p50[2]],
        p99_ms=float(p99[1]) * MILLISECONDS[p99[2]],
        failures=failures,
    )
