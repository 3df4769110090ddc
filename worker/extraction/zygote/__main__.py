"""`python -I -m docmill.worker.extraction.zygote`, which the worker's supervisor runs."""

import sys
import traceback

from docmill.worker.extraction.zygote.process import main

try:
    main(sys.argv[1:])
except Exception:
    traceback.print_exc()
    sys.exit(1)
