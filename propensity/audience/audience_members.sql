-- Script: the members of an audience as of a date, as two temporary tables of a session:
-- scored, who may be members, by the one run of the audience's own statement; and chosen,
-- who was looked at, by chosen_anew.sql or chosen_before.sql in the place of chosen.sql.
-- One row: sums over them.
-- Parameters: those of audience_scored.sql, and of the part.
CREATE TEMP TABLE scored AS
WITH
-- include: audience_scored.sql
SELECT *
FROM scored
;
CREATE TEMP TABLE chosen AS
WITH
-- include: chosen.sql
SELECT *
FROM looked_at
;
-- include: members_sums.sql
