"""How long DVC takes to hash a folder: `python dvc_tree.py FOLDER`, in an environment with dvc.

`dvc add` builds this tree before it copies a byte. With a dry run and no state database DVC has nothing to do
but list and hash, and nothing to remember between runs.
"""

import json
import sys
import time

from dvc_data.hashfile.build import build
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_objects.fs import localfs

folder = sys.argv[1]
cache = LocalHashFileDB(localfs, folder + ".dvc-cache")
started = time.perf_counter()
_, meta, tree = build(cache, folder, localfs, "md5", dry_run=True)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "files": meta.nfiles, "bytes": meta.size}))
