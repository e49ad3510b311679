"""`python -m neuralrank` is the command `neuralrank`."""

from neuralrank.cli import main

if __name__ == "__main__":
    main()
