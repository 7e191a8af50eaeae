"""
``propensity`` of a clone: what ``propensity.cli`` has, and the commands of an operator.

``cli``         all commands, in sections; begin here
``options``     options that several of them share
``machine``, ``deployment``, ``data``, ``audience``, ``rehearsal``, ``usecases``    the
                commands

A command imports its program when it runs, so ``propensity --help`` answers at once.
"""
