-- Part of audience_scored.sql: one row per user who may be a member. An audience's
-- own statement, audiences/NAME.sql, stands in its place, with further columns.
-- Parameters: those of features.sql; @as_of DATE.
SELECT
  user_id
FROM publication
