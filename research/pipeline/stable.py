"""Text that is the same bytes whenever its content is the same, so that DVC sees no change."""

import re

# A state of a progress bar as tqdm prints it: "photos: 32%|###  | 27/84 [00:01<00:02, 26.8it/s]"
BAR = re.compile(r"[^\r\n]*\[\d+:\d\d[^\]\r\n]*\][^\r\n]*[\r\n]*")
FOLIUM = (
    r"((?:map|layer_control|feature_group|image_overlay|macro_element|pane|figure)_)"
    r"[0-9a-f]{32}(?![0-9a-f])"
)
# Only in the forms that these libraries give them: a photo's id may be a UUID or a digest, too.
RANDOM = re.compile(
    r"(?:(?<=#)|(?<=id=)|(?<=id=[\"']))(T_)[0-9a-f]{5}(?=\b|_)"  # pandas' styled tables
    rf"|\b{FOLIUM}"
    r"|\b((?:attrs|data|index|section)-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # xarray's
    r"|(/tmp/ipykernel_)\d+/\d+\.py"  # the file names of cells in warnings
)
# Where folium says that a name is its own: a variable, an element, a layer without a variable
OWN = re.compile(
    rf"\b(?:var |let |const |id=(?:\"|&quot;))(?P<name>{FOLIUM})"
    rf"|(?:\"|&quot;)(?P<layer>{FOLIUM})(?:\"|&quot;) : \w"
)


def without_bars(text: str) -> str:
    """Printed text without its progress bars, whose times differ from run to run."""
    return BAR.sub("", text)


def counted(page: str) -> str:
    """HTML with each id that was drawn at random replaced by its number of appearance; a photo's
    id that only looks like one of folium's stays."""
    own = {match["name"] or match["layer"] for match in OWN.finditer(page)}
    names: dict[str, str] = {}

    def name(match: re.Match) -> str:
        if match[2] and match[0] not in own:
            return match[0]
        return names.setdefault(match[0], f"{match[match.lastindex]}{len(names)}")

    return RANDOM.sub(name, page)
