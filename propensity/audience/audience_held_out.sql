-- Part of audience_candidates.sql and audience_members.sql: users whom any audience of
-- the control group has held out by now, and those who have the address of one. An
-- address may have changed since. It is compared in the form of spelling.coarsest.
-- Parameters: @control_group STRING; @control_by STRING, user_id or a column of eligible,
--   which the program puts in, too.
-- Source: ma_audience_members, and the common table eligible.
  addresses AS (
    SELECT
      e.user_id,
      LOWER(TRIM(CAST(e.`drawn_by` AS STRING))) AS address
    FROM eligible AS e
  ),
  people AS (
    SELECT
      user_id,
      CASE
        WHEN @control_by = 'user_id' THEN user_id
        WHEN REGEXP_CONTAINS(address, r'^[^@]*@(gmail|googlemail)[.]com$')
          THEN CONCAT(
            REPLACE(REGEXP_EXTRACT(address, r'^([^@+]*)'), '.', ''),
            REGEXP_EXTRACT(address, r'(@.*)$')
          )
        ELSE address
      END AS person
    FROM addresses
  ),
  controls AS (
    SELECT DISTINCT user_id
    FROM ma_audience_members
    WHERE
      control_group = @control_group
      AND is_control
  ),
  held_out AS (
    SELECT user_id FROM controls
    UNION DISTINCT
    SELECT p.user_id
    FROM people AS p
    LEFT JOIN controls AS c
      ON c.user_id = p.user_id
    WHERE p.person IS NOT NULL
    QUALIFY COUNTIF(c.user_id IS NOT NULL) OVER (PARTITION BY p.person) > 0
  )
