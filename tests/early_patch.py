"""pytest plugin, loaded by `-p` before anything else: gevent patches the standard library here.

A conftest.py would come too late: pytest's own plugins have imported `ssl` by then.
"""

from titanflow.supervision.patch import patch_everything

patch_everything()
