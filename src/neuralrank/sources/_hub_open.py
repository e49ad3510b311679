"""Where the Hub is and in whose name it is asked: as `huggingface_hub` finds both, or as given."""

import re
from pathlib import Path

from neuralrank.errors import UsageError
from neuralrank.sources._hub_http import Hub, http_library


def offline_reason(offline: bool) -> str:
    """Return what forbids requests, empty if nothing does."""
    from huggingface_hub import constants

    if offline:
        return "--offline"
    return "HF_HUB_OFFLINE=1" if constants.HF_HUB_OFFLINE else ""


def open_hub(*, cache: Path, endpoint: str | None, token: str | None, offline: bool) -> Hub:
    """Return the Hub at `endpoint`, or where the client looks for it, with the token that the client would send.

    Raises:
        UsageError: the endpoint is no web address, or the token has characters that no token has.
    """
    from huggingface_hub import constants, errors, get_token

    address = (endpoint or constants.ENDPOINT).rstrip("/")
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", address):
        raise UsageError(
            f"The endpoint of the Hub needs to be a web address. Got {address[:200]!r}. Correct or unset HF_ENDPOINT."
        )
    try:
        token = token or (None if offline else get_token())
    except (http_library().HTTPError, OSError, getattr(errors, "OIDCError", OSError)) as error:
        raise UsageError(
            f"The token of the Hub could not be had. Got {type(error).__name__}. Run: hf auth login"
        ) from error
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            "The token of the Hub needs letters, digits and signs alone. Got others, not shown here. Run: hf auth login"
        )
    return Hub(endpoint=address, cache=cache, token=token)
