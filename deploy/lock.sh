#!/usr/bin/env bash
# Write the locks of all functions anew: every package with its version and hashes, by
# uv. A deploy uploads the lock as requirements.txt: pip checks every hash, and takes
# wheels only, so that what is installed is what was tested, bytes for bytes. What is
# locked is for the runtime: CPython 3.11 on Linux with glibc, x86-64.
#
#   deploy/lock.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for requirements in 0*/requirements*.txt; do
  lock="deploy/locks/$requirements"
  mkdir -p "$(dirname "$lock")"
  # Comments do not count: what a lock is of is said by its other lines.
  of="$(sed 's/ *#.*//; /^ *$/d' "$requirements" | LC_ALL=C sort | sha256sum | cut -d' ' -f1)"
  {
    echo "# Made by deploy/lock.sh from $requirements, for CPython 3.11 on Linux, x86-64."
    echo "# Requirements: $of"
    # Where both name a package, the version that tests run on.
    .venv/bin/uv pip compile "$requirements" --constraints=requirements.txt --quiet \
      --generate-hashes --only-binary=:all: --emit-build-options --no-annotate --no-header \
      --python-version=3.11 --python-platform=x86_64-manylinux_2_35
  } >"$lock.new"
  mv "$lock.new" "$lock"
  echo "$lock: $(grep -c == "$lock") packages"
done
