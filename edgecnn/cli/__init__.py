"""The command line. One file is one command, found by its name; see `edgecnn.cli.app` for what it must define."""
