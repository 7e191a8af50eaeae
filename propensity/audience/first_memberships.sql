-- Part: common table entries, of a common table memberships, which has scope, name, audience,
-- as_of, user_id, is_control, probability, cost and margin: each user of a name once, at
-- the first date, where that is one of some dates. A user's cost is that of all contacts
-- of that date; null if one is not known.
-- A user counts once. Whether a user is a member again may be what the treatment did:
-- those who are cannot be compared any more.
-- Parameters: @as_ofs ARRAY<DATE>.
  entries AS (
    SELECT
      scope,
      name,
      as_of,
      user_id,
      is_control,
      probability,
      IF(COUNTIF(cost IS NULL) OVER of_date > 0, NULL, SUM(cost) OVER of_date) AS cost,
      margin
    FROM memberships
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY scope, name, user_id
        ORDER BY as_of, audience
      ) = 1
      AND as_of IN UNNEST(@as_ofs)
    WINDOW of_date AS (PARTITION BY scope, name, user_id, as_of)
  )
