"""A stream that is committed already, for example after a lost answer, has a code."""

REWRITES = {
    "local_bigquery.grpc.write": (
        (
            "code=types.StorageError.StorageErrorCode.INVALID_STREAM_STATE",
            'code="STREAM_ALREADY_COMMITTED" if stream.committed '
            'else "INVALID_STREAM_STATE"',
        ),
    ),
}
