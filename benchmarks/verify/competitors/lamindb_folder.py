"""How long LaminDB takes to hash a folder: `python lamindb_folder.py FOLDER`, in an environment with lamindb.

`ln.Artifact(FOLDER)` calls this function, with as many threads as there are cores.
"""

import json
import sys
import time
from pathlib import Path

from lamindb_setup.core.hashing import hash_dir

folder = Path(sys.argv[1])
started = time.perf_counter()
size, _, _, n_files = hash_dir(folder)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "files": n_files, "bytes": size}))
