"""
``propensity`` of a clone: what a wheel has, and the commands of operators.

``cli``         all commands, in sections; begin here
``operators``   those of a deployment, which the operators' job has alone
``options``     options that several of them share
``machine``, ``deployment``, ``data``, ``audience``, ``rehearsal``, ``usecases``    the
                commands

A command imports its program when it runs, so ``propensity --help`` answers at once.
"""
