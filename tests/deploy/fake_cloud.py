"""
A Cloud SDK that remembers: stands in for gcloud and bq on PATH, in a file of its own.

``FAKE_CLOUD`` names a folder. ``calls`` in it gets every command line, one JSON array a
line; ``state.json`` holds what there is. What there is not is not found, what is there
already cannot be created again, and what nothing was granted on has an empty policy:
as the services have it, so far as the plans look. ``FAKE_CLOUD_FAILS`` is a text: a
command that has it fails, so often as ``FAKE_CLOUD_FAILS_TIMES`` says (always without
it), and says what ``FAKE_CLOUD_SAYS`` is. ``FAKE_CLOUD_SIGNED_OUT``: every command
does. Deploys of functions wait for so many at once as ``FAKE_CLOUD_TOGETHER`` says.
Commands may come at once: each has the state for itself.
"""

import base64
import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path

NUMBER = "123456789012"
PUBSUB = "pubsub.googleapis.com"
THROTTLING = "run.googleapis.com/cpu-throttling"


class Refused(Exception):
    """What the service says no to."""


def main():
    program, *words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    home = Path(os.environ["FAKE_CLOUD"])
    together(home, words)
    lock = (home / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with (home / "calls").open("a") as calls:
        calls.write(json.dumps([program, *words]) + "\n")
    failing = os.environ.get("FAKE_CLOUD_FAILS")
    file = home / "state.json"
    state = json.loads(file.read_text()) if file.exists() else {}
    try:
        if os.environ.get("FAKE_CLOUD_SIGNED_OUT"):
            raise Refused("You do not currently have an active account selected.")
        if failing and failing in " ".join(words) and is_left(home):
            said = os.environ.get(
                "FAKE_CLOUD_SAYS", "PERMISSION_DENIED: the test says so"
            )
            raise Refused(said)
        answer = (gcloud if program == "gcloud" else bq)(state, words)
    except Refused as error:
        # bq says on its output what a service refused.
        to = sys.stdout if program == "bq" else sys.stderr
        print(f"ERROR: {error}", file=to)
        sys.exit(1)
    file.write_text(json.dumps(state))
    if answer is not None:
        print(answer if isinstance(answer, str) else json.dumps(answer))


def is_left(home):
    """Whether what is to fail has not failed often enough."""
    times = int(os.environ.get("FAKE_CLOUD_FAILS_TIMES", "1000"))
    with (home / "failures").open("a+") as failures:
        failures.seek(0)
        if len(failures.read()) >= times:
            return False
        failures.write("x")
    return True


def together(home, words):
    """Let a deploy of a function wait for as many as FAKE_CLOUD_TOGETHER says."""
    wanted = int(os.environ.get("FAKE_CLOUD_TOGETHER", "0"))
    if wanted and words[:2] == ["functions", "deploy"]:
        (home / f"arrived {words[2]}").touch()
        began = time.monotonic()
        while len(list(home.glob("arrived *"))) < wanted:
            if time.monotonic() - began > 60:
                print("ERROR: the others did not come", file=sys.stderr)
                sys.exit(1)
            time.sleep(0.02)


def flags_of(words):
    """The flags by name, and what is none of them."""
    flags, names = {}, []
    for word in words:
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            flags[name] = value
        else:
            names.append(word)
    return flags, names


def existing(state, key):
    if key not in state:
        kind, _, name = key.rpartition(" ")
        told = f"Cannot find {kind}" if kind.startswith("run ") else "NOT_FOUND:"
        raise Refused(f"{told} {name}")
    return state[key]


def created(state, key, value):
    if key in state:
        raise Refused(f"ALREADY_EXISTS: {key}")
    state[key] = value


def bound(state, key, flags, *, verb):
    """Read or change a policy."""
    policy = state.setdefault(f"policy {key}", {"etag": "x", "bindings": []})
    if verb == "get-iam-policy":
        return policy
    binding = {"role": flags["role"], "members": [flags["member"]]}
    condition = flags.get("condition", "None")
    if condition != "None":
        expression, _, title = condition.removeprefix("expression=").rpartition(
            ",title="
        )
        binding["condition"] = {"expression": expression, "title": title}
    if verb == "add-iam-policy-binding":
        policy["bindings"].append(binding)
    else:
        policy["bindings"].remove(binding)
    return policy


def gcloud(state, words):  # noqa: PLR0911, PLR0912, PLR0915 - a case for each
    flags, names = flags_of(words)
    kinds = (
        "services", "projects", "iam service-accounts", "iam roles",
        "storage buckets", "storage rm", "pubsub topics", "pubsub subscriptions",
        "functions", "run services", "run jobs", "scheduler jobs",
        "beta monitoring channels", "alpha monitoring policies", "logging metrics",
        "kms keys", "artifacts repositories",
    )  # fmt: skip
    line = " ".join(names)
    if line == "auth print-access-token":
        return "a-token"
    if line in ("beta services identity create", "storage service-agent"):
        made_by = flags.get("service", "storage.googleapis.com")
        state.setdefault("agents", []).append(made_by.partition(".")[0])
        return None
    kind = next((one for one in kinds if line.startswith(one + " ")), None)
    if kind is None:
        raise Refused(f"no such command: {line}")
    verb, *rest = names[len(kind.split()) :]
    if kind.startswith("pubsub") and PUBSUB not in state.get("services", ()):
        raise Refused(
            "PERMISSION_DENIED: Cloud Pub/Sub API has not been used in project "
            f"{NUMBER} before or it is disabled. reason: SERVICE_DISABLED"
        )
    if kind == "storage rm":
        existing(state, f"storage buckets {verb}")
        del state[f"storage buckets {verb}"]
        return None
    if kind == "services":
        enabled = state.setdefault("services", [])
        if verb == "enable":
            enabled.extend(rest)
        return [{"config": {"name": one}} for one in enabled]
    if kind.endswith(("channels", "policies")):
        return monitored(state, kind, verb, flags, rest)
    if kind == "scheduler jobs" and rest[0] == "http":
        rest = rest[1:]
    # An account is created by its name and found by its address.
    name = rest[0].partition("@")[0]
    key = f"{kind} {name}"
    if verb.endswith(("iam-policy", "iam-policy-binding")):
        if kind == "kms keys":
            known(state, flags.get("member", ""))
        elif kind != "projects":
            existing(state, key)
        return bound(state, key, flags, verb=verb)
    if kind == "projects":
        return NUMBER
    if verb == "describe":
        return described(existing(state, key), flags)
    if verb == "delete" and kind == "iam roles":
        existing(state, key)["deleted"] = True
    elif verb == "delete":
        existing(state, key)
        del state[key]
        if kind == "functions":
            del state[f"run services {name}"]
    elif verb == "undelete":
        if not existing(state, key).pop("deleted", False):
            raise Refused("FAILED_PRECONDITION: it is not deleted")
    elif verb == "deploy":
        state[key] = deployed(state, kind, name, flags)
    elif verb == "create":
        created(state, key, made(kind, flags) | labelled(flags))
    elif verb in ("update", "modify-push-config"):
        there = existing(state, key)
        # Only what the flags are about changes.
        told = {"made": True} if set(flags) <= {"update-labels", "project"} else {}
        there.update((told or made(kind, flags)) | labelled(flags))
    else:
        raise Refused(f"no such command: {line}")
    return None


AGENTS = {
    "bigquery-encryption": "bigquery",
    "gcf-admin-robot": "cloudfunctions",
    "gcp-sa-artifactregistry": "artifactregistry",
    "gcp-sa-pubsub": "pubsub",
    "gs-project-accounts": "storage",
    "serverless-robot-prod": "run",
}


def known(state, member):
    """Refuse a service's account that nobody has asked for yet."""
    for part, service in AGENTS.items():
        if part in member and service not in state.get("agents", ()):
            raise Refused(f"INVALID_ARGUMENT: Service account {member} does not exist")


def described(found, flags):
    form = flags.get("format", "")
    if form == "value(status.url)":
        return found["url"]
    if form.startswith("value("):
        return found["image"]
    return found


def deployed(state, kind, name, flags):
    labels = flags.get("update-labels", flags.get("labels", "=")).split("=")
    if kind == "run jobs":
        return {"metadata": {"labels": dict([labels])}}
    if not Path(flags["source"], "main.py").is_file():
        raise Refused(f"no source in {flags['source']}")
    url = f"https://{name}-abcdefghij-uc.a.run.app"
    state[f"run services {name}"] = {"url": url, "image": f"us-docker.pkg.dev/x/{name}"}
    return {"labels": dict([labels]), "state": "ACTIVE", "url": url}


def labelled(flags):
    """The labels that are put on something, none where none are."""
    text = flags.get("labels", flags.get("update-labels"))
    return {"labels": dict([text.split("=")])} if text else {}


def made(kind, flags):
    """What the service says of what was made with these flags."""
    if kind == "iam roles":
        return {"includedPermissions": flags["permissions"].split(",")}
    if kind == "logging metrics":
        return {"filter": flags["log-filter"]}
    if kind == "storage buckets":
        lifecycle = flags.get("lifecycle-file")
        return {
            "uniform_bucket_level_access": True,
            "public_access_prevention": "enforced",
            "versioning_enabled": "versioning" in flags,
            "default_kms_key": flags.get("default-encryption-key"),
            "lifecycle_config": json.loads(
                Path(lifecycle or os.devnull).read_text() or "{}"
            ),
        }
    if kind == "scheduler jobs":
        body = flags["message-body"].encode()
        return {
            "schedule": flags["schedule"],
            "timeZone": flags["time-zone"],
            "attemptDeadline": flags["attempt-deadline"],
            "httpTarget": {
                "uri": flags["uri"],
                "body": base64.b64encode(body).decode(),
            },
            "retryConfig": {
                "retryCount": int(flags["max-retry-attempts"]),
                "minBackoffDuration": flags["min-backoff"],
                "maxBackoffDuration": flags["max-backoff"],
            },
        }
    if kind == "pubsub subscriptions":
        return subscribed(flags)
    return served(flags) if kind == "run services" else {"made": True}


def served(flags):
    throttled = {THROTTLING: "false" if "no-cpu-throttling" in flags else "true"}
    return {"spec": {"template": {"metadata": {"annotations": throttled}}}}


def subscribed(flags):
    if "push-endpoint" in flags:
        account = flags.get("push-auth-service-account")
        token = {"serviceAccountEmail": account}
        push = {"pushEndpoint": flags["push-endpoint"], "oidcToken": token}
        return {"pushConfig": push if flags["push-endpoint"] else {}}
    found = {"ackDeadlineSeconds": int(flags["ack-deadline"])}
    if "dead-letter-topic" in flags:
        found["deadLetterPolicy"] = {
            "maxDeliveryAttempts": int(flags["max-delivery-attempts"])
        }
        found["retryPolicy"] = {
            "minimumBackoff": flags["min-retry-delay"],
            "maximumBackoff": flags["max-retry-delay"],
        }
    return found


def monitored(state, kind, verb, flags, rest):
    there = state.setdefault(kind, [])
    if verb == "list" and "filter" in flags:
        wanted = dict(re.findall(r'(?:userLabels\.)?(\w+)="([^"]+)"', flags["filter"]))
        for one in there:
            values = {
                "displayName": one.get("displayName"),
                **one.get("userLabels", {}),
            }
            if all(values.get(name) == value for name, value in wanted.items()):
                return one["name"]
        return ""
    if verb == "list":
        return there
    if verb == "create":
        name = f"{kind.split()[-1]}/{state.get('number', 0)}"
        state["number"] = state.get("number", 0) + 1
        there.append({"name": name, **watched(flags)})
        return None
    one = next((one for one in there if one["name"] == rest[0]), None)
    if one is None:
        raise Refused(f"NOT_FOUND: {rest[0]}")
    if verb == "delete":
        there.remove(one)
    else:
        one.update(watched(flags))
    return None


def watched(flags):
    if "policy" in flags:
        return json.loads(flags["policy"])
    labels = flags.get("channel-labels", flags.get("update-channel-labels", "="))
    found = {"labels": dict([labels.split("=")])}
    if "display-name" in flags:
        found["displayName"] = flags["display-name"]
    return found


def bq(state, words):  # noqa: PLR0912 - a case for each
    flags, names = flags_of([word for word in words if not word.startswith("\n")])
    verb, name = names[0], names[-1]
    key = f"bq {name}"
    if verb == "show" and "encryption_service_account" in flags:
        state.setdefault("agents", []).append("bigquery")
        return "bq-123456789012@bigquery-encryption.iam.gserviceaccount.com"
    if verb == "show":
        return existing(state, key)
    if verb.endswith(("iam-policy", "iam-policy-binding")):
        existing(state, key)
        return bound(state, key, flags, verb=verb)
    if verb == "mk":
        dataset = name.rpartition(".")[0]
        if "view" in flags:
            existing(state, f"bq {dataset}")
            missing = os.environ.get("FAKE_CLOUD_NO_EXPORT")
            if missing and f"{missing}.events_" in flags["view"]:
                raise Refused(f"Not found: {missing}")
        made = {"view": {"query": flags.get("view", "")}, "access": []}
        if "default_kms_key" in flags:
            made["defaultEncryptionConfiguration"] = {
                "kmsKeyName": flags["default_kms_key"]
            }
        if "label" in flags:
            made["labels"] = dict([flags["label"].split(":")])
        created(state, key, made)
    elif verb == "update" and "set_label" in flags:
        existing(state, key)["labels"] = dict([flags["set_label"].split(":")])
    elif verb == "update" and "default_kms_key" in flags:
        existing(state, key)["defaultEncryptionConfiguration"] = {
            "kmsKeyName": flags["default_kms_key"]
        }
    elif verb == "update":
        existing(state, key)["view"] = {"query": flags["view"]}
    elif verb == "rm":
        existing(state, key)
        for one in [one for one in state if one == key or one.startswith(f"{key}.")]:
            del state[one]
    elif verb == "query":
        queried(state, name, flags["dataset_id"])
    else:
        raise Refused(f"no such command: {verb}")
    return None


def queried(state, sql, dataset):
    if found := re.match(
        r"CREATE TABLE IF NOT EXISTS `(\w+)` \((.*)\n\)\nPARTITION", sql, re.S
    ):
        existing(state, f"bq {dataset}")
        columns = re.findall(r"^  (\w+) ", found[2], re.M)
        days = re.search(r"partition_expiration_days = (\d+)", sql)
        state[f"bq {dataset}.{found[1]}"] = {
            "schema": {"fields": [{"name": one} for one in columns]},
            "timePartitioning": {
                "expirationMs": str(int(days[1]) * 86_400_000 if days else 0)
            },
            "requirePartitionFilter": "require_partition_filter = TRUE" in sql,
        }
    elif found := re.search(r"CREATE OR REPLACE TABLE `(\w+)` \(", sql):
        for one in existing(state, f"bq {dataset}.{found[1]}")["schema"]["fields"]:
            one.pop("fields", None)
    elif found := re.match(r"ALTER TABLE `(\w+)`", sql):
        table = existing(state, f"bq {dataset}.{found[1]}")
        columns = re.findall(r"ADD COLUMN IF NOT EXISTS (\w+) ", sql)
        names = {one["name"] for one in table["schema"]["fields"]} | set(columns)
        table["schema"]["fields"] = [{"name": one} for one in sorted(names)]
        days = re.search(r"partition_expiration_days = (\d+|NULL)", sql)[1]
        table["timePartitioning"] = {
            "expirationMs": str(0 if days == "NULL" else int(days) * 86_400_000)
        }
        table["requirePartitionFilter"] = "require_partition_filter = TRUE" in sql
    elif found := re.match(
        r"(GRANT|REVOKE) `(\S+)` ON SCHEMA `(\S+)\.(\w+)` (?:TO|FROM) "
        r'"serviceAccount:(\S+)"',
        sql,
    ):
        verb, role, project, name, account = found.groups()
        listed = "READER" if role == "roles/bigquery.dataViewer" else role
        entry = {"role": listed, "userByEmail": account}
        entries = state.setdefault(f"bq {project}:{name}", {"access": []})["access"]
        if verb == "GRANT":
            entries.append(entry)
        else:
            entries.remove(entry)
    else:
        raise Refused(f"no such statement: {sql[:80]}")


main()
