-- Part of an expression: the partition of stream_users that a user is in, by the first
-- four bytes of a hash, as tables.user_bucket has it.
MOD(CAST(CONCAT('0x', SUBSTR(TO_HEX(SHA256(user_id)), 1, 8)) AS INT64), 1000)
