"""Let the tests of engines import the modules beside them, as the worker does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
