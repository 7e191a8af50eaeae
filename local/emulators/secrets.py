"""
Secret Manager on this machine, for the unmodified client by REST.

    python -m local.emulators.secrets --port 8095 --data-dir .local/states/demo/secrets

The newest version of a secret is a file ``DATA_DIR/NAME``, read at each access: to add
or change a secret, write the file. There is nothing else of the service.
"""

from __future__ import annotations

import argparse
import base64
import re
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.loopback import LoopbackHandler
from local.processes import HOST, options_of_child

PATH = re.compile(
    r"/v1/(projects/[\w.:-]+/secrets/([\w-]{1,255})/versions)/latest:access(\?.*)?"
)


class Handler(LoopbackHandler):
    """Answers an access with the content of a file."""

    folder: Path

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        status, answer = HTTPStatus.NOT_FOUND, dict[str, Any]()
        asked = PATH.fullmatch(self.path)
        if asked and (file := self.folder / asked[2]).is_file():
            data = base64.b64encode(file.read_bytes()).decode()
            status = HTTPStatus.OK
            answer = {"name": f"{asked[1]}/1", "payload": {"data": data}}
        else:
            message = f"Secret [{asked[1] if asked else self.path}] not found."
            answer["error"] = {"code": status, "status": status.name}
            answer["error"]["message"] = message
        self.answer(status, answer, {})


def main() -> None:
    """Read the command line and answer until it is stopped."""
    parser = argparse.ArgumentParser("python -m local.emulators.secrets")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of files")
    options = options_of_child(parser)
    Handler.folder = options.data_dir
    with ThreadingHTTPServer((HOST, options.port), Handler) as server:
        server.daemon_threads = True
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
