"""Special functions of a transformer in exact integers, as `hw/special_function_unit.py` has them.

`functions` are what a model calls, on tensors of any leading dimensions. `passes` are the same as
the unit's jobs, one pass or scalar step after the other. `lane`, `tables` and `scalars` are their
arithmetic. Vectors are int64 tensors of wide elements; see `golden.spec.special_function_unit`.
"""
