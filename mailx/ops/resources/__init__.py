"""The resources of the admin API: one class for each part of the server, with its table of routes.

``ROUTES`` names (path, method, the coroutine method that answers a :class:`~mailx.ops.resources.query.Query`); ``path:`` in a
path because / is good in a local part. A part that only a running server has is None without one, and says so.
"""
