-- Common table entries: users at the first as-of date that they were members of an
-- audience, where that is one of some dates.
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members, up to the newest of the dates.
-- A user counts once. Whether somebody is a member again may be what the treatment did:
-- those who are cannot be compared any more.
  first_members AS (
    SELECT
      audience,
      user_id,
      MIN(as_of) AS as_of
    FROM
      ma_audience_members
    WHERE
      use_case = @use_case
      AND as_of <= (SELECT MAX(day) FROM UNNEST(@as_ofs) AS day)
    GROUP BY
      audience,
      user_id
  ),
  entries AS (
    SELECT
      m.audience,
      m.as_of,
      m.user_id,
      m.probability,
      m.is_control,
      m.control_share
    FROM
      ma_audience_members AS m
    INNER JOIN
      first_members AS f
      ON f.audience = m.audience AND f.user_id = m.user_id AND f.as_of = m.as_of
    WHERE
      m.use_case = @use_case
      AND m.as_of IN UNNEST(@as_ofs)
  )
