"""Many machines: jobs in PostgreSQL, run by workers beside their ComfyUIs, results in an object store.

Imported only where ``--cluster``, ``worker`` or ``jobs`` asks for it: what it needs is the extra ``[cluster]``.
"""
