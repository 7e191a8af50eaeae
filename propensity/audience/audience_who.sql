-- Part of audience_scored.sql: whom the audience asks for, as the publication has them.
-- Parameters: @who STRING, active, away or all.
      AND (@who = 'all' OR JSON_VALUE(categories, '$.presence') = @who)
