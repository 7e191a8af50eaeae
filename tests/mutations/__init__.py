"""
Mutation spot checks: rules of the code, and the tests that must go red without them.

``rules.toml``  every rule: where it stands, how it is broken, and which tests hold it
``rules``       reads the list
``__main__``    breaks the rules one after another: ``make mutations``
"""
