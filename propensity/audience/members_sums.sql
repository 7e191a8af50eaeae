-- One row: sums over the members of an audience, and over those who were looked at.
-- Parameters: those of the members.
-- Source: what members.sql reads, or audience_choice.sql.
WITH
-- include: members.sql
SELECT
  c.*,
  s.*
FROM checked AS c
CROSS JOIN (
  SELECT
    COUNT(*) AS members,
    COUNTIF(is_control) AS control_members,
    COUNTIF(is_explored) AS explored,
    SUM(probability) AS probability,
    SUM(probability * probability) AS probability_squares,
    COUNT(expected_value) AS valued,
    COUNT(effect) AS with_effect,
    -- Of those who are treated.
    SUM(IF(is_control, NULL, probability)) AS expected,
    SUM(IF(is_control, NULL, effect)) AS added_conversions,
    -- So much is expected of a buyer.
    SUM(
      IF(is_control, NULL, effect * SAFE_DIVIDE(expected_value, probability))
    ) AS added_value
  FROM members
) AS s
