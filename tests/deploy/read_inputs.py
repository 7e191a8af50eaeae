"""
Read a .tfvars file as ``gcloud infra-manager`` does, by the Cloud SDK's own code.

Run by the Python of the SDK, with its folder and pairs of a file and the folder of a
root as arguments; prints as JSON, for each, the values of the request that it would
send, and the names of the files that it would upload.
"""

# ruff: noqa: PLC0415 - what is imported is found through the folder that is given

import json
import sys


def main():
    sdk, *pairs = sys.argv[1:]
    sys.path[:0] = [f"{sdk}/lib", f"{sdk}/lib/third_party"]
    from apitools.base.py import encoding
    from googlecloudsdk.api_lib.infra_manager import configmanager_util
    from googlecloudsdk.command_lib.infra_manager import deploy_util
    from googlecloudsdk.command_lib.util import gcloudignore

    messages = configmanager_util.GetMessagesModule()
    found = []
    for file, root in zip(pairs[::2], pairs[1::2]):  # noqa: B905 - of an older Python
        blueprint = messages.TerraformBlueprint(
            inputValues=messages.TerraformBlueprint.InputValuesValue(
                additionalProperties=deploy_util._ParseInputValuesAndFile(
                    None, file, messages
                )
            )
        )
        sent = json.loads(encoding.MessageToJson(blueprint))["inputValues"]
        chosen = gcloudignore.GetFileChooserForDir(root, write_on_disk=False)
        found.append(
            {
                "values": {name: one["inputValue"] for name, one in sent.items()},
                "files": sorted(chosen.GetIncludedFiles(root, include_dirs=False)),
            }
        )
    json.dump(found, sys.stdout)


main()
