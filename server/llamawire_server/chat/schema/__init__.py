"""JSON schemas of callers: checked, and brought into the form that the grammar compiler takes.

What a schema says is enforced, or the schema is refused with the place that can't be: it is never ignored.
"""
