"""
The doctor: the faults of a deployment or a local run, and what to do about them.

``run``     examines what the environment names; begin here
``checks``  rights, the export, sources, champions, runs by their leases, dead letters
``costs``   what a month of a use case bills

It changes nothing and names no user. A check that fails does not hide the findings of
the others.
"""
