from research.maps import explore as explore
from research.maps import explorer as explorer
from research.maps import explorer_widgets as explorer_widgets
from research.maps import scene_map as scene_map

__all__ = ["explore", "explorer", "explorer_widgets", "scene_map"]
