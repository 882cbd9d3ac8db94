"""Proofs of the promises under faults: a module a proof, each with its count, its seed and its folder.

A module has a `PROOFS` tuple. `test_proofs` runs each for its short count, `make chaos` (`python -m proofs`) for the
full one, in batches that an interrupted run continues. A kill is SIGKILL of a process in mid-work, and only those
count; what a proof compares with imports nothing of ours. What does not belong here: tests of one function.
"""
