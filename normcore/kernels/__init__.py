"""What runs fast in place of a formula: backward passes by hand, and fused kernels.

A formula stands in `normcore.functional`, as one reads it. A file here holds what runs instead of it,
and nothing that the formula does not give.
"""
