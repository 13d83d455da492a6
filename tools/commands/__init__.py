"""The subcommands of tools/dev.py, one file each: `HELP`, `add_arguments(parser)`, `run(args) -> exit
status`.
"""
