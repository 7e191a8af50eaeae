"""As a plain function a dependency would wait for a thread, with each request."""

REWRITES = {
    "local_bigquery.app": (("def valid_project(", "async def valid_project("),),
}
