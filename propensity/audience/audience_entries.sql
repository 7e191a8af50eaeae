-- Common tables memberships and entries: each user once, at the first date, of each
-- audience by itself, and of all audiences of a control group together.
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- include: audience_memberships.sql
  ,
-- include: first_memberships.sql
