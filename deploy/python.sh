#!/usr/bin/env bash
# The script whose name this is called by, as deploy/__main__.py has it: --help says what it
# takes. All scripts of this folder but lock.sh are links to this one. It sets, for example,
#   root=/home/ana/propensity    this checkout, by where the link is
#   STARTED=/home/ana/shop       where you are, by Bash's PWD: files are named from there
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export STARTED="$PWD"
# The last file that `make setup` writes, or `make setup-deploy`.
[[ -e "$root/.venv/.set-up" || -e "$root/.venv/.set-up-to-deploy" ]] || {
  echo "deploy: $root/.venv is missing or incomplete. Run 'make setup' in $root first" >&2
  exit 1
}
# Who closes the standard input answers no question.
[[ -e /dev/stdin ]] || exec </dev/null
cd "$root" && exec .venv/bin/python -m deploy "$(basename "$0" .sh)" "$@"
