"""``python -m jobs.cli``: the command `dkvb`."""

from dkvb_unlearning import main

if __name__ == "__main__":
    main()
