"""
compact_features of 04-StreamFeatures: events to daily sums, and to Parquet by day.

    stream_events --> stream_features_daily; closed days --> Parquet

Request   a POST, of the scheduler
Reads     stream_events, inference_log, when each use case last published
Writes    stream_features_daily, stream_compactions, Parquet
Answers   200 done; 409 a compaction is running; 503 run again
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs.run import Answer, Endpoint, Run
from propensity.streaming.features import compact


@functions_framework.http
@Endpoint(
    "compactFeatures", kind=compact.KIND, scope=compact.SCOPE, once=False, clock=SYSTEM
)
def compact_features(current: Run) -> Answer:
    """Bring daily sums and exports up to date, and log the ages of published tables."""
    answer = compact.compact(current)
    compact.log_ages(current)
    return answer
