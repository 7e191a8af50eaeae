-- Common table entries: users at the first as-of date that they were members of an
-- audience, where that is one of some dates.
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members, up to the newest of the dates.
-- A user counts once. Whether a user is a member again may be what the treatment did:
-- those who are cannot be compared any more.
  entries AS (
    SELECT audience, as_of, user_id, is_control, probability
    FROM ma_audience_members
    WHERE
      use_case = @use_case
      AND as_of <= (SELECT MAX(day) FROM UNNEST(@as_ofs) AS day)
    QUALIFY
      as_of = MIN(as_of) OVER (PARTITION BY audience, user_id)
      AND as_of IN UNNEST(@as_ofs)
  )
