"""
Run a scheduled function once, without HTTP: what a Cloud Run job of its image does.

    python3 job.py model_training '{"use_case": "ga4_purchase"}'

The request goes to the function in this process, as functions-framework would hand it
over, and so through its lease, its log line and its errors. An answer that says when to
ask again, as while a day of the export is awaited, is asked again then; another failure
that may pass, twice more. Exits with 0 only where the last answer is 200.
"""

import sys
import time

import functions_framework

# What this image runs beside its own function.
SOURCES = {"predictions": "predictions.py"}

target, body = sys.argv[1:]
app = functions_framework.create_app(target, SOURCES.get(target, "main.py"))
client = app.test_client()
# Seconds to wait where the answer names none.
pauses = [600, 1800]
while True:
    answer = client.post("/", data=body, content_type="application/json")
    pause = answer.headers.get("Retry-After")
    if not answer.json.get("retryable") or not (pause or pauses):
        break
    time.sleep(int(pause or pauses.pop(0)))
if answer.status_code != 200:  # noqa: PLR2004
    print(answer.text, file=sys.stderr)
sys.exit(answer.status_code != 200)  # noqa: PLR2004
