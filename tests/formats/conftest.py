"""Let the tests of formats use the makers of hostile files beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
