"""What has to stand beside data of others. Apart from `embed`, whose imports take seconds."""

import re


def sentinel_notice(acquired: str | None = None) -> str:
    """The notice that the Copernicus licence asks of derived products, with the year if known."""
    year = re.match(r"\d{4}", acquired or "")
    return f"contains modified Copernicus Sentinel data{f' {year[0]}' if year else ''}"
