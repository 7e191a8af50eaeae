# shellcheck shell=bash
# Sourced by the scripts: finds a Python, and calls the deployment's command line.

plan() {
  local root python
  root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
  for python in "$root/.venv/bin/python" python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      cd "$root" && exec "$python" -m deploy "$@"
    fi
  done
  echo "deploy: Python 3.11 or newer is needed, and none is found" >&2
  return 1
}
