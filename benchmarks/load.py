"""
Requests on connections that are kept alive, one at a time on each, sent by ``wrk``.

It is written in C and far from its limit here (package ``wrk`` of Debian).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.processes import HOST

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
function done(summary, latency)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("\\n%d %d %d\\n", summary.requests, summary.duration, failures))
end
"""  # noqa: E501


@dataclass(frozen=True)
class Load:
    """What one round of requests gave."""

    requests: int
    requests_per_s: float
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
        command = [
            *("wrk", "--threads", "1", "--connections", f"{connections}"),
            *("--duration", f"{max(1, round(seconds))}s", "--timeout", "30s"),
            *("--script", f"{script}", f"http://{HOST}:{port}"),
        ]
        text = subprocess.run(command, check=True, capture_output=True, text=True)
        count, micros, failures = text.stdout.splitlines()[-1].split()
        return Load(
            requests=int(count),
            requests_per_s=int(count) / int(micros) * 1e6,
            failures=int(failures),
        )

    return load
