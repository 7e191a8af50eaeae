"""The emulators and the functions of one state, as processes of 127.0.0.1.

state.py     a state: its folder, options, ports, and the record of what runs
stack.py     ``Stack`` starts all of it and stops it again; start here
starting.py  refusals to start, and waiting until all answers
stopping.py  all of a state stopped, functions first
commands.py  ``up``, ``down`` and ``status``, and how to use what is up
pages.py     the dashboard, written and served
topics.py    topics and subscriptions
signals.py   Ctrl-C and its like, in order
"""
