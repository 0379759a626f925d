"""``python -m nla`` is the command ``nla``."""

from nla.cli import main

main()
