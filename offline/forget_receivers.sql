-- One row per destination of an audience and user of some, whom it took or may have
-- taken: the newest date that the user was sent as of; whether the user is on its list;
-- and whether it rejected to take each of the user's addresses off: then the row may be
-- pending, with the reason. A removal that may have arrived is no rejected one: the next
-- delivery asks again.
-- Parameters: @keys ARRAY<STRING>, the users; @use_case STRING, empty for all.
-- Source: ma_audience_ledger, ma_audience_lists.
WITH
  on_lists AS (
    SELECT
      use_case,
      audience,
      destination,
      user_id,
      IFNULL(address, '') AS address,
      MAX(as_of) AS as_of
    FROM ma_audience_lists
    WHERE
      (@use_case = '' OR use_case = @use_case)
      AND user_id IN UNNEST(@keys)
    GROUP BY 1, 2, 3, 4, 5
  ),
  refused AS (
    SELECT
      use_case,
      audience,
      destination,
      user_id,
      IFNULL(address, '') AS address,
      MAX(as_of) AS as_of
    FROM ma_audience_ledger
    WHERE
      (@use_case = '' OR use_case = @use_case)
      AND action = 'remove'
      AND NOT IFNULL(may_have_arrived, FALSE)
      AND (status = 'rejected' OR reason IS NOT NULL AND receipt IS NULL)
    GROUP BY 1, 2, 3, 4, 5
  ),
  left_over AS (
    SELECT
      o.use_case,
      o.audience,
      o.destination,
      o.user_id,
      COUNTIF(f.user_id IS NULL) AS removable
    FROM on_lists AS o
    LEFT JOIN refused AS f
      ON
        f.use_case = o.use_case
        AND f.audience = o.audience
        AND f.destination = o.destination
        AND f.user_id = o.user_id
        AND f.address = o.address
        AND f.as_of >= o.as_of
    GROUP BY 1, 2, 3, 4
  )
SELECT
  l.use_case,
  l.audience,
  l.destination,
  l.user_id,
  MAX(IF(l.action = 'add', l.as_of, NULL)) AS as_of,
  COUNTIF(o.user_id IS NOT NULL) > 0 AS is_listed,
  COUNTIF(o.removable = 0) > 0 AS is_rejected
FROM ma_audience_ledger AS l
LEFT JOIN left_over AS o
  ON
    o.use_case = l.use_case
    AND o.audience = l.audience
    AND o.destination = l.destination
    AND o.user_id = l.user_id
WHERE
  (@use_case = '' OR l.use_case = @use_case)
  AND l.user_id IN UNNEST(@keys)
  AND (
    l.action = 'remove'
    OR l.status IN ('accepted', 'pending')
    OR o.user_id IS NOT NULL
  )
GROUP BY 1, 2, 3, 4
HAVING COUNTIF(l.action = 'add') > 0
