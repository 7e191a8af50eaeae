-- One row per member who is treated, the best first.
-- Parameters: those of the members; @best_first STRING, what they are put in order by.
-- Source: as of members_sums.sql.
WITH
-- include: members.sql
SELECT
  user_id,
  probability,
  percentile,
  expected_value,
  attributes,
  decile_value,
  effect
FROM members
WHERE NOT is_control
ORDER BY
  CASE @best_first
    WHEN 'expected_value' THEN expected_value
    WHEN 'effect' THEN effect
    ELSE probability
  END DESC,
  user_id
