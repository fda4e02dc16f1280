"""pycytominer, without what importing it changes: it turns on pandas' copy-on-write for the whole process."""

import pandas as pd

with pd.option_context("mode.copy_on_write", pd.options.mode.copy_on_write):
    from pycytominer import feature_select, normalize
    from pycytominer.cyto_utils.blocklist import get_blocklist_features

__all__ = ["feature_select", "get_blocklist_features", "normalize"]
