-- Part of audience_members.sql. One row: sums over the members of an audience, and over
-- those who were looked at.
-- Source: the session's table chosen.
SELECT
  COUNT(*) AS users,
  COUNTIF(times > 1) AS repeated,
  COUNT(score) AS scored,
  COUNTIF(is_nameless) AS nameless,
  COUNTIF(is_left_out) AS left_out,
  MAX(attributes) AS example,
  COUNTIF(is_member) AS members,
  COUNTIF(is_member AND is_control) AS control_members,
  COUNTIF(is_member AND is_explored) AS explored,
  IFNULL(SUM(IF(is_member, probability, 0)), 0) AS probability,
  IFNULL(SUM(IF(is_member, probability * probability, 0)), 0) AS probability_squares,
  COUNTIF(is_member AND expected_value IS NOT NULL) AS valued,
  -- Of those who are treated.
  IFNULL(SUM(IF(is_member AND NOT is_control, probability, 0)), 0) AS expected
FROM chosen
