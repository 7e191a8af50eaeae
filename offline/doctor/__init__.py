"""
The doctor: what is wrong with a deployment or a local run, and what to do about it.

``run``     examines what the environment names; begin here
``checks``  settings, rights, the export, champions, dead letters
``runs``    the last scheduled run of each kind
``report``  findings, as text and for a program

It changes nothing and names no user. A check that fails does not hide the findings of
the others.
"""
