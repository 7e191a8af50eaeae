#!/usr/bin/env bash
# Set up, deploy every function, grant access to their callers, and schedule them.
#
#   deploy/deploy_all.sh --dry-run [--deployment FILE]
#   deploy/deploy_all.sh [--yes] [--rebuild] [--remove] [--drop-columns] [--deployment FILE]
#   deploy/deploy_all.sh --plan=FOLDER [--yes]    do what that plan says, in its images, and nothing else
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

shared=() planned=() again=()
for word in "$@"; do
  case "$word" in
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit 0 ;;
  # Flags of the set-up alone.
  --yes | --remove | --drop-columns) again+=("$word") ;;
  # Its images are for the functions. What follows from these may not be more than that.
  --plan=*) planned+=("$word") again+=(--only-callers) ;;
  *) shared+=("$word") ;;
  esac
done
"$here/deploy/setup.sh" "$@"
# One after the other: gcloud keeps its credentials in one database, and calls beside
# each other find it locked.
failed=""
for script in "$here"/0*/deploy*.sh; do
  "$script" ${shared[@]+"${shared[@]}"} ${planned[@]+"${planned[@]}"} || failed+=" ${script#"$here"/}"
done
if [[ -n "$failed" ]]; then
  echo "deploy: these failed:$failed. The others are deployed; run deploy/deploy_all.sh again" >&2
  exit 1
fi
# Functions are there now: who may call them is let in, and subscriptions push to them.
case " $* " in
*" --dry-run "*) ;;
*) "$here/deploy/setup.sh" ${shared[@]+"${shared[@]}"} ${again[@]+"${again[@]}"} ;;
esac
for script in "$here"/0*/scheduler*.sh; do
  "$script" ${shared[@]+"${shared[@]}"}
done
