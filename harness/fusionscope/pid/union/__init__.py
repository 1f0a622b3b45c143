"""The certified union information of two sources: min over Q in Delta_P of I_Q(X1, X2; Y). See README.md beside it."""

from fusionscope.pid.union.cells import merge, pool
from fusionscope.pid.union.solve import Union, solve_union, solve_union_of_points
from fusionscope.pid.union.ties import distinct

__all__ = ["Union", "distinct", "merge", "pool", "solve_union", "solve_union_of_points"]
