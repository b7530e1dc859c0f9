"""The web page on which people give feedback. Needs the extra ``textgym[feedback]``.

:func:`~textgym.feedback.server.app.create_app` makes the application around a store,
:func:`~textgym.feedback.server.serve.serve` runs it; ``textgym feedback serve PROJECT.db`` does both.
"""
