"""Is the data what it seems, and does a score on it mean anything? Findings from classical features alone.

``survey`` and ``reference`` hold what is known of the images: one pass over all of them, and the best classical model.
Each check is a function from a ``Subject`` of both to what it ``Checked``; ``whole`` makes them all.
"""
