"""What ``python -m eval.speed`` times, one file each: ``add_options(parser)`` and ``measure(arguments) -> Timing``."""
