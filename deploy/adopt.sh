#!/usr/bin/env bash
# Take into Terraform's state what is there already by the names of this deployment: of
# an earlier version, made by hand, or of a state that is lost. Changes the state and
# nothing else; deploy/setup.sh --dry-run then shows what differs. Asks first.
#
#   deploy/adopt.sh [--dry-run] [--yes] [--settings FILE]
set -euo pipefail
takes="--yes"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/terraform.sh"

if [[ "$by" == gcloud ]]; then
  echo "deploy: terraform or tofu is needed to adopt; Infrastructure Manager takes the" \
    "state over by 'gcloud infra-manager deployments import-statefile'" >&2
  exit 1
fi
values main
if [[ -z "$dry_run" && "$options" != *" --yes "* ]]; then
  echo "Whatever is called as things of '$prefix' in $project becomes this deployment's."
  read -r -p "Type the project's name, $project, to go on: " answer || answer=""
  [[ "$answer" == "$project" ]] || { echo "nothing was adopted" && exit 1; }
fi
prepare main
# Without the export and those that read it: an import reads no data.
given=(-var-file="$root/$work/main.tfvars" -var=ga4_dataset= "-var=use_cases=[]")
# By address what it is imported by: a text of JSON, which console puts into quotes.
adoptable="$(tf main console "${given[@]}" <<<'jsonencode(local.adoptable)' |
  "$python" -c 'import json, sys
for address, name in json.loads(json.loads(sys.stdin.read())).items():
    print(address, name)')"
# A state that holds nothing yet is none, which Terraform calls an error.
held="$(tf main state list 2>/dev/null || true)"
while read -r -u 4 address name; do
  if [[ $'\n'"$held"$'\n' == *$'\n'"$address"$'\n'* ]]; then
    continue
  elif [[ -n "$dry_run" ]]; then
    echo "# would look for $name"
  elif said="$(tf main import "${given[@]}" "$address" "$name" 2>&1)"; then
    echo "adopted $name"
  elif [[ "$said" == *"non-existent remote object"* ]]; then
    echo "not there: $name"
  elif [[ "$said" == *"already managed"* ]]; then
    continue
  else
    echo "$said" >&2 && exit 1
  fi
done 4<<<"$adoptable"
