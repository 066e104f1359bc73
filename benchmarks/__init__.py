"""What only developers and checkers of the paper's claims run. Not installed; run from the checkout's root:

    python -m benchmarks --help

A measurement is a module here with its command at the end, or a folder with its command in `cli.py`; `__main__` puts
the commands together. Nothing in `src` imports this package.
"""
