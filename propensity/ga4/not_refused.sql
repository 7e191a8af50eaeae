-- Part of a statement: whether the last event of a user (u) is newer than any No to consent
-- (r); of somebody away that is the last purchase (h).
  r.day IS NULL
  OR r.day < COALESCE(
    EXTRACT(DATE FROM TIMESTAMP_MICROS(u.last_event)),
    DATE_SUB(u.as_of, INTERVAL h.last_days_ago DAY)
  )
