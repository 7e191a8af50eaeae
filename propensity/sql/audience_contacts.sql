-- One row per user of whom contact data are known, as the data team keeps them.
-- Parameters: @user_ids ARRAY<STRING>.
-- Source: audience_contacts, a table or view of the data team; nothing here creates it.
SELECT
  user_id,
  email,
  phone,
  first_name,
  last_name,
  country_code,
  postal_code,
  has_ads_consent
FROM
  audience_contacts
WHERE
  user_id IN UNNEST(@user_ids)
