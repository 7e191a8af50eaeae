-- One row per postcode and outward code with its index.
-- Source: postcode_index, which offline/load_postcodes.py replaces as a whole.
SELECT postcode, socioeconomic_idx
FROM postcode_index
