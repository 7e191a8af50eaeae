-- Part of forget_count: rows of the digest of an export, by browser or user id.
AND (user_id IN UNNEST(@keys) OR user_pseudo_id IN UNNEST(@keys))
