"""GA4 exports of other sources, loaded as daily tables.

ga4_schema.py     its columns
ga4_rows.py       reads rows and fits them to the columns
ga4_export.py     loads them, day by day; start here
"""
