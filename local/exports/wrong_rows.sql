-- One row: the first row of a file that is no row of a GA4 export, and why; or none.
-- Source: given, the rows of the file with their numbers, and ids as JSON has them.
-- An id that is a number of 2^53 or more, or has a point, may have lost digits. Times go
-- to the end of 9999. A list of BigQuery has no null, and a parameter has a key.
CREATE OR REPLACE TEMP MACRO is_number(id) AS
  JSON_TYPE(id) NOT IN ('VARCHAR', 'NULL')
  AND COALESCE(ABS(TRY_CAST(id AS HUGEINT)) >= 9007199254740992 OR id LIKE '%.%', TRUE);

-- A whole number is a text here: 2 and 2.0 and 1.77e15 are whole, and 2.5 and true are not.
CREATE OR REPLACE TEMP MACRO is_not_whole(number) AS
  number IS NOT NULL
  AND (TRY_CAST(number AS BIGINT) IS NULL OR TRY_CAST(number AS DOUBLE) % 1 != 0);
CREATE OR REPLACE TEMP MACRO not_whole_in(numbers) AS
  COALESCE(LIST_POSITION(LIST_TRANSFORM(numbers, LAMBDA n: is_not_whole(n)), TRUE), 0) - 1;
CREATE OR REPLACE TEMP MACRO no_whole_number(field, numbers) AS
  CASE
    WHEN not_whole_in(numbers) >= 0
      THEN FORMAT(field, not_whole_in(numbers)) || ': expected a whole number, found '
        || numbers[not_whole_in(numbers) + 1]
  END;
CREATE OR REPLACE TEMP MACRO int_values(params) AS
  LIST_TRANSFORM(params, LAMBDA p: p.value.int_value);

-- The place of a null in a list, counted from 0 as in messages; -1 where there is none.
CREATE OR REPLACE TEMP MACRO null_in(records) AS
  COALESCE(LIST_POSITION(LIST_TRANSFORM(records, LAMBDA r: r IS NULL), TRUE), 0) - 1;
CREATE OR REPLACE TEMP MACRO keyless_in(records) AS
  COALESCE(LIST_POSITION(LIST_TRANSFORM(records, LAMBDA r: r.key IS NULL), TRUE), 0) - 1;

SELECT
  row,
  COALESCE(
    no_whole_number('event_timestamp', [event_timestamp]),
    no_whole_number('event_previous_timestamp', [event_previous_timestamp]),
    no_whole_number('user_first_touch_timestamp', [user_first_touch_timestamp]),
    no_whole_number('ecommerce.total_item_quantity', [ecommerce.total_item_quantity]),
    no_whole_number(
      'items[{}].quantity', LIST_TRANSFORM(items, LAMBDA i: i.quantity)
    ),
    no_whole_number('event_params[{}].value.int_value', int_values(event_params)),
    no_whole_number('user_properties[{}].value.int_value', int_values(user_properties)),
    no_whole_number(
      'user_properties[{}].value.set_timestamp_micros',
      LIST_TRANSFORM(user_properties, LAMBDA p: p.value.set_timestamp_micros)
    ),
    no_whole_number(
      'items.item_params.value.int_value',
      FLATTEN(LIST_TRANSFORM(items, LAMBDA i: int_values(i.item_params)))
    ),
    CASE
      WHEN event_timestamp IS NULL THEN 'event_timestamp: expected a value, found none'
      WHEN event_name IS NULL THEN 'event_name: expected a value, found none'
      WHEN event_timestamp::BIGINT NOT BETWEEN 0 AND 253402300799999999
        THEN 'event_timestamp: expected microseconds since 1970, found ' || event_timestamp
      WHEN event_date IS NOT NULL AND TRY_STRPTIME(event_date, '%Y%m%d') IS NULL
        THEN 'event_date: expected a date as YYYYMMDD, found ' || event_date
      WHEN is_number(user_pseudo_id)
        THEN 'user_pseudo_id: expected a text, found the number ' || user_pseudo_id
      WHEN is_number(user_id)
        THEN 'user_id: expected a text, found the number ' || user_id
      WHEN is_number(ecommerce.transaction_id)
        THEN 'ecommerce.transaction_id: expected a text, found the number '
          || ecommerce.transaction_id
      WHEN LEN(LIST_FILTER(items, LAMBDA i: is_number(i.item_id))) > 0
        THEN 'items.item_id: expected a text, found the number '
          || LIST_FILTER(items, LAMBDA i: is_number(i.item_id))[1].item_id
      WHEN null_in(event_params) >= 0
        THEN 'event_params[' || null_in(event_params) || ']: expected a record, found null'
      WHEN null_in(user_properties) >= 0
        THEN 'user_properties[' || null_in(user_properties)
          || ']: expected a record, found null'
      WHEN null_in(items) >= 0
        THEN 'items[' || null_in(items) || ']: expected a record, found null'
      WHEN LEN(LIST_FILTER(items, LAMBDA i: null_in(i.item_params) >= 0)) > 0
        THEN 'items.item_params: expected records, found null'
      WHEN keyless_in(event_params) >= 0
        THEN 'event_params[' || keyless_in(event_params) || '].key: expected a text, found none'
      WHEN keyless_in(user_properties) >= 0
        THEN 'user_properties[' || keyless_in(user_properties)
          || '].key: expected a text, found none'
    END
  ) AS why
FROM given
WHERE why IS NOT NULL
ORDER BY row
LIMIT 1
