"""
The GA4 export: its view ``ga_events``, with what use cases name, and its days.

The export holds the values that a site sends with its events in two lists,
``event_params`` and ``user_properties``. A use case names the ones that its statements
read, with a type, and each becomes a column of the view.

The export also says for every event whether the user had allowed analytics storage and
ads storage at that moment: Yes, No, or nothing if the site has no consent mode. Only a
Yes is consent. The view leaves out events without it, so that no statement can forget.
Of a No the digest keeps who and when: the newest word of a user counts.

A run that reads without the newest day would see every user a day less recent. So it
first looks at the names of the tables, which bills nothing, waits for the newest day,
and after the longest wait goes on as of a day earlier.

- ``view``: the view, with its columns
- ``shards``: the tables of days; ``freshness``: how far a run reads them
- ``currency``: the one of amounts that Google did not convert

It may import ``gcp``, ``usecases`` and what stands below them. Tests:
``tests/propensity/ga4``.

Source:
    https://support.google.com/analytics/answer/7029846, privacy_info;
    https://support.google.com/analytics/answer/9976101, consent mode;
    https://support.google.com/analytics/answer/9358801 and 9823238: daily and streaming
    export, their limits, late events.
"""
