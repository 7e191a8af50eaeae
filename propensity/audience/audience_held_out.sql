-- Part of audience_candidates.sql and audience_members.sql: users whom any audience of
-- the control group has held out by now, and those who have the address of one. An
-- address may have changed since. It is compared in the form of values.coarsest.
-- Parameters: @control_group STRING; @control_by STRING, user_id or a column of eligible,
--   which the program puts in, too.
-- Source: ma_audience_members, and the common table eligible.
  texts AS (
    SELECT
      e.user_id,
      LOWER(TRIM(CAST(e.`drawn_by` AS STRING))) AS text
    FROM eligible AS e
  ),
  -- Without marks that nobody sees, and what stands around an address in a list or link.
  addresses AS (
    SELECT
      user_id,
      IF(
        STRPOS(text, '@') > 0,
        REGEXP_EXTRACT(
          TRIM(
            REGEXP_REPLACE(
              text,
              r'[\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}\x{feff}]',
              ''
            )
          ),
          r"""^(?:mailto:)?["'<\s]*(?:mailto:)?(.*?)["'>\s]*[;,]?\s*$"""
        ),
        text
      ) AS address
    FROM texts
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
