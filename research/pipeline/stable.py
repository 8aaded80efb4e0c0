"""Text that is the same bytes whenever its content is the same, so that DVC sees no change."""

import re

# A state of a progress bar as tqdm prints it: "photos: 32%|###  | 27/84 [00:01<00:02, 26.8it/s]"
BAR = re.compile(r"[^\r\n]*\[\d+:\d\d[^\]\r\n]*\][^\r\n]*[\r\n]*")
# Only in the forms that these libraries give them: a photo's id may be a UUID or a digest, too.
RANDOM = re.compile(
    r"(?:(?<=#)|(?<=id=)|(?<=id=[\"']))(T_)[0-9a-f]{5}(?=\b|_)"  # pandas' styled tables
    r"|\b((?:map|layer_control|feature_group|image_overlay|macro_element|pane|figure)_)"  # folium's
    r"[0-9a-f]{32}(?![0-9a-f])"
    r"|\b((?:attrs|data|index|section)-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # xarray's
    r"|(/tmp/ipykernel_)\d+/\d+\.py"  # the file names of cells in warnings
)


def without_bars(text: str) -> str:
    """Printed text without its progress bars, whose times differ from run to run."""
    return BAR.sub("", text)


def counted(page: str) -> str:
    """HTML with each id that was drawn at random replaced by its number of appearance."""
    names: dict[str, str] = {}

    def name(match: re.Match) -> str:
        return names.setdefault(match[0], f"{match[match.lastindex]}{len(names)}")

    return RANDOM.sub(name, page)
