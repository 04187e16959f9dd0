"""The student's world: a limited process that runs submitted functions.

It stands alone: it imports nothing of this package, and neither checker nor reference nor seed ever
enters it.
"""
