"""What the whole test suite understands on its command line."""

pytest_plugins = ["cell_assets_tests.fail_on_skip"]
