"""BigQuery and a bucket in the process, as the third ground beside two over HTTP."""
