"""
The doctor: examine a deployment, or a local run, and say what to do about it.

``run``          every check, one after the other; begin here
``report``       the findings, as text and as JSON
``examination``  the deployment, its findings, and how its services are reached
``rights``       settings that go together; rights of the functions
``layout``       tables and views
``export``       the GA4 export
``champions``    the champions and their files
``leases``       when each run began and ended, by its lease
``schedule``     whether each scheduled run ran and published
``stream``       topics, subscriptions, and the stream

A check looks at one subject and adds findings to the report. It only reads, changes
nothing, and the report names no user. A check that can not be made here is listed as
not checked.
"""
