"""Emulators and functions of a local state, as processes of 127.0.0.1.

stack.py     ``Stack`` starts, uses and stops them; start here
commands.py  what ``up``, ``down`` and ``status`` do and print
state.py     a state: folder, options, ports, and the record of what runs
topics.py    creates topics and subscriptions
"""
