"""Coverage-guided fuzzing of all that reads octets or files of others: `make fuzz`, or `python -m tools.fuzz NAME`.

A target is one file: `seeds` returns good inputs, and `check` reads an input as the server does. The oracle: only the
documented exceptions are caught, so that every other one is a bug, as is a failed assertion. Inputs that once found a
bug are kept under tests/testdata/fuzz/TARGET, and tests/tools/test_fuzz.py checks them again.
"""
