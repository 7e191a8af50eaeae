-- Part of a list of subqueries: of `received`, the events that no tile of `tiles` has
-- counted yet.
uncounted AS (
  SELECT
    r.*
  FROM
    received AS r
  LEFT JOIN
    tiles AS d
    ON d.use_case = r.use_case AND d.user_id = r.user_id AND d.day = r.event_date
  WHERE
    d.user_id IS NULL
    OR r.event_id NOT IN UNNEST(d.event_ids)
)
