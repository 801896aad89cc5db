"""When a campaign will be done, as an honest range. Pure."""


def range_s(left: int, rate: float) -> list[int] | None:
    """Return [low, high] seconds for what is left at the present rate; None if nothing moves."""
    if left == 0:
        return [0, 0]
    if rate <= 0:
        return None
    return [int(left / (rate * 1.1)), int(left / (rate * 0.8)) + 1]
