-- Record a snapshot's new checksum, when the ids of users in it gave way to numbers.
-- Parameters: @object, @checksum STRING. Writes: ma_model_training_metadata.
UPDATE
  ma_model_training_metadata
SET
  dataset_sha256 = @checksum
WHERE
  training_date >= DATE '1970-01-01'
  AND dataset_object = @object
