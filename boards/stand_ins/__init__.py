"""Modules that a PYNQ image lacks and the driver imports, as small as the driver's use of them.

They go into a deployment package, behind everything else that Python searches: where the image has the real one, that is
taken. None is imported by bitloop itself.
"""
