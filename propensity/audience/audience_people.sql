-- Part of audience_scored.sql: users who may be members with their further columns, and
-- whom each is known as: an address is compared in the form of values.coarsest.
-- Parameters: @control_by STRING, user_id or a column of eligible, which the program puts
--   in, too, and the further columns, as the entries of a JSON object.
-- Source: the common table eligible, once: its statement may give other rows when it runs
--   again.
  texts AS (
    SELECT
      -- The audience's own statement may spell it in capitals.
      e.user_id AS user_id,
      LOWER(TRIM(CAST(e.`drawn_by` AS STRING))) AS text,
      CONCAT('{', `own_columns`, '}') AS attributes
    FROM eligible AS e
  ),
  -- Without marks that nobody sees, and what stands around an address in a list or link.
  addresses AS (
    SELECT
      user_id,
      attributes,
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
      attributes,
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
  )
