"""Bootstrap intervals, permutation tests and multiple comparisons."""
