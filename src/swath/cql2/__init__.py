"""The filter language OGC CQL2 (21-065r2): tree, readers, binding and evaluator.

Knows no database: engines hand in a `Frame` of columns, and the evaluator says which rows a filter selects.
"""
