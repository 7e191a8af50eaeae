-- Part of audience_scored.sql, in the place of audience_who.sql: customers who were away
-- for the days that the audience says, which are the lookback of these features.
-- Parameters: those of features.sql.
      AND user_id IN (
        SELECT user_id
        FROM
          (
-- include: features.sql
          )
        WHERE presence = 'away'
      )
