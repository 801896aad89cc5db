"""Makes the standard library cooperative. Must run before psycopg, ssl or redis is imported."""

from gevent import monkey


def patch_everything() -> None:
    """Patch the standard library for gevent, once. Harmless to repeat."""
    if not monkey.is_module_patched("socket"):
        monkey.patch_all()
