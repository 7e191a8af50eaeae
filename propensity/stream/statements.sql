-- statement: event_identity
-- Part of a condition: the identity of an event. A user's event id of a day is one event
-- however often it was received, and the row received first is the one that counts.
ROW_NUMBER() OVER (
  PARTITION BY use_case, user_id, event_date, event_id
  ORDER BY received_at, message_id
) = 1

-- statement: measured_events
-- Part of a condition: events that event_sums.sql adds up. All others leave every
-- feature as it is, and a tile of them would be a row that says nothing.
event_type IN ('new_registration', 'new_purchases', 'new_bet', 'new_win')

-- statement: sums
-- Part of a list: the columns that event_sums.sql and merged_sums.sql make.
purchase_count,
purchase_sum,
purchase_sum_squares,
bet_count,
bet_sum,
bet_sum_squares,
win_count,
win_sum,
win_sum_squares,
registration

-- statement: merged_sums
-- Part of a select list: the sums of rows that have sums, in a group, and the first of
-- their registrations, as event_sums.sql chooses it.
SUM(purchase_count) AS purchase_count,
SUM(purchase_sum) AS purchase_sum,
SUM(purchase_sum_squares) AS purchase_sum_squares,
SUM(bet_count) AS bet_count,
SUM(bet_sum) AS bet_sum,
SUM(bet_sum_squares) AS bet_sum_squares,
SUM(win_count) AS win_count,
SUM(win_sum) AS win_sum,
SUM(win_sum_squares) AS win_sum_squares,
ARRAY_AGG(
  registration
  IGNORE NULLS
  ORDER BY registration.registration_time, TO_JSON_STRING(registration)
)[SAFE_OFFSET(0)] AS registration

-- statement: features_of_totals
-- Part of a query: one row per user with the columns of the view stream_features.
-- Source: totals, the sums of users.
SELECT
  use_case,
  user_id,
-- include: event_statistics.sql
  ,
  registration.registration_time,
  registration.age,
  registration.city,
  registration.country,
  registration.affiliate_url,
  registration.campaign,
  registration.socioeconomic_idx
FROM totals

-- statement: postcodes
-- One row per postcode and outward code with its index.
-- Source: postcode_index, which offline/load_postcodes.py replaces as a whole.
SELECT postcode, socioeconomic_idx
FROM postcode_index

-- statement: last_compaction
-- The newest row of stream_compactions; none before the first compaction.
SELECT counted_until, closed_before
FROM stream_compactions
ORDER BY counted_until DESC, compacted_at DESC
LIMIT 1

-- statement: stream_events_days
-- One row per day of events and whether they were late: when the newest of them was
-- received; of what was received from a day on.
-- Parameters: @since_day DATE.
SELECT
  event_date AS day,
  COALESCE(is_late, FALSE) AS is_late,
  MAX(received_at) AS newest
FROM stream_events
WHERE received_on >= @since_day
GROUP BY 1, 2
ORDER BY day

-- statement: inference_log_days
-- One row per day of events and whether they were late: when the newest of their scores
-- was given; of what was scored from a day on.
-- Parameters: @since_day DATE; @lateness_days INT64.
SELECT
  event_date AS day,
  event_date < DATE_SUB(scored_on, INTERVAL @lateness_days DAY) AS is_late,
  MAX(scored_at) AS newest
FROM inference_log
WHERE scored_on >= @since_day
GROUP BY 1, 2
ORDER BY day

-- statement: export_day
-- Write a day of what was chosen to Parquet files; a statement of the script that
-- export_stream_events.sql or export_inference_log.sql begins.
-- Parts, since an option takes no parameter: the folder, and the day.
-- Source: chosen, a temporary table.
EXPORT DATA
OPTIONS (
  uri = '`target`part-*.parquet',
  format = 'PARQUET',
  overwrite = TRUE
)
AS
SELECT * FROM chosen
WHERE event_date = `day`

-- statement: export_stream_events
-- Choose the events of some days that were not late, each once, for export_day.sql.
-- Parameters: @days ARRAY<DATE>; @earliest, @latest DATE, the first and the last day on
--   which an event of these days can have been received; @lateness_days INT64.
-- Source: stream_events.
CREATE TEMP TABLE chosen
PARTITION BY event_date
AS
SELECT * EXCEPT (is_late)
FROM stream_events
WHERE
  received_on >= @earliest
  AND received_on <= @latest
  AND event_date IN UNNEST(@days)
  AND event_date >= DATE_SUB(received_on, INTERVAL @lateness_days DAY)
  AND is_late IS NOT TRUE
QUALIFY
-- include: event_identity.sql


-- statement: export_inference_log
-- Choose the scores given to the events of some days, each once, for export_day.sql.
-- Parameters: @days ARRAY<DATE>; @earliest, @latest DATE, the first and the last day on
--   which an event of these days can have been scored; @lateness_days INT64.
-- Source: inference_log.
CREATE TEMP TABLE chosen
PARTITION BY event_date
AS
SELECT * FROM inference_log
WHERE
  scored_on >= @earliest
  AND scored_on <= @latest
  AND event_date IN UNNEST(@days)
  AND event_date >= DATE_SUB(scored_on, INTERVAL @lateness_days DAY)
QUALIFY ROW_NUMBER() OVER (PARTITION BY inference_id ORDER BY scored_at) = 1
