-- Part of forget_count: rows of the digest of the export, by browser or user id. They are
-- of all use cases, so that one alone forgets none of them.
AND (user_id IN UNNEST(@keys) OR user_pseudo_id IN UNNEST(@keys))
AND @use_case = ''
