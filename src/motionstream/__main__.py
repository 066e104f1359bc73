"""`python -m motionstream`: the same program as `motionstream`."""

from motionstream.cli import main

if __name__ == "__main__":
    main()
