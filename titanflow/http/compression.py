"""gzip, for answers that are worth it and clients that take it."""

import falcon


def takes_gzip(request: falcon.Request) -> bool:
    """True if the client says that it takes gzip: RFC 9110, 12.5.3."""
    wanted: dict[str, float] = {}
    for part in (request.get_header("Accept-Encoding") or "").lower().split(","):
        name, _, parameters = part.strip().partition(";")
        key, _, value = parameters.strip().partition("=")
        try:
            wanted[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            wanted[name.strip()] = 0.0
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0
