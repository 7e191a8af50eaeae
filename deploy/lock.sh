#!/usr/bin/env bash
# Write the locks of all functions anew: every package with its version and hashes, by
# uv. A deploy uploads the lock as requirements.txt: pip checks every hash, and takes
# wheels only, so that the bytes that were tested are installed. What is
# locked is for the runtime: CPython (deploy/python-version) on Linux with glibc, x86-64.
#
#   deploy/lock.sh
set -euo pipefail
[[ "$*" != *-h* ]] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit 0; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version="$(<deploy/python-version)"
uv=.venv/bin/uv

[[ -x "$uv" ]] || { echo "deploy: $PWD/$uv is missing. Run 'make setup' in $PWD first" >&2 && exit 1; }
for requirements in 0*/requirements*.txt; do
  lock="deploy/locks/$requirements"
  mkdir -p "$(dirname "$lock")"
  # Comments do not count: the other lines say which packages a lock has.
  of="$(sed 's/ *#.*//; /^ *$/d' "$requirements" | LC_ALL=C sort | sha256sum | cut -d' ' -f1)"
  {
    echo "# Made by deploy/lock.sh from $requirements, for CPython $version on Linux, x86-64."
    echo "# Requirements: $of"
    # Where both name a package, the version that tests run on.
    "$uv" pip compile "$requirements" --constraints=requirements.txt --quiet \
      --generate-hashes --only-binary=:all: --emit-build-options --no-annotate --no-header \
      --python-version="$version" --python-platform=x86_64-manylinux_2_35
  } >"$lock.new"
  mv "$lock.new" "$lock"
  echo "$lock: $(grep -c == "$lock") packages"
done
