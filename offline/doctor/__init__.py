"""
The doctor: examine a deployment, or a local run, and say what to do about it.

``run``          every check, one after the other; begin here
``report``       what was found, as text and as JSON
``examination``  the deployment that is looked at, and how its services are reached
``rights``       settings that go together; rights of the functions
``layout``       tables and views
``export``       the GA4 export
``champions``    what serves
``leases``       what ran when, by the leases of runs
``schedule``     whether each scheduled run came, and what it published
``stream``       topics, subscriptions, and the stream

A check looks at one subject and adds findings to the report. It reads and changes
nothing, and what it says names no user. What can not be looked at where it runs is
listed as not checked.
"""
