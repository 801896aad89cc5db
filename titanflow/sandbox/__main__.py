"""`python -m titanflow.sandbox`."""

import sys

from titanflow.sandbox.app import main

sys.exit(main())
