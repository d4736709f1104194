"""`make mutants`: what the tests do not notice when one thing of a source file is changed.

A mutant is a file with one change (``<`` for ``<=``, an argument less, ``n + 1`` for ``n``). The tests that run the
changed function are run on it: it is killed when one of them fails, else it survives. A survivor is a test that is
missing, code that nothing needs, or equal to the original; the last is explained in ``explained.toml``.
"""
