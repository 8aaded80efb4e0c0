"""Figures of the continuous field: three readings of a chip, a photo's similarity map, errors."""

import numpy as np

from gairlib.data.scene import Scene
from gairlib.embed.field import Field
from research.evaluation.finding import Finding, find, flat_note, similarity_limits
from research.figures import style
from research.figures.style import Figure


def readings(chip: np.ndarray, pictures: dict[str, np.ndarray], ground_m: float) -> Figure:
    """A chip [10, px, px] beside its readings (name -> RGB); edges in metres."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.6))
        axes = figure.subplots(1, 1 + len(pictures))
        panels = {"chip, true colour": style.true_colour(chip)} | pictures
        for axis, (name, picture) in zip(axes, panels.items()):
            axis.imshow(picture, extent=(0, ground_m, ground_m, 0))
            style.image_axes(axis)
            axis.set_title(name, fontsize=9)
        _metre_ticks(axes[0], ground_m)
        return figure


def similarity(
    field: Field,
    cosine: np.ndarray,
    true_colour: np.ndarray,
    photo: np.ndarray,
    lonlat: tuple,
    finding: Finding,
) -> Figure:
    """Photo, scene and similarity [h, w] side by side, with the true and the most similar place.

    true_colour: uint8 [h', w', 3] over the field's window; lonlat: the true position.
    """
    with style.context():
        wide, high = _metres(field)
        figure = Figure(figsize=(style.WIDTH, 3.0))
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 1))
        axes[0].imshow(photo)
        style.image_axes(axes[0], "photo")
        style.image_axes(axes[1], "scene")
        style.image_axes(axes[2], "similarity")
        axes[1].imshow(true_colour, extent=(0, wide, high, 0))
        drawn = axes[2].imshow(cosine, extent=(0, wide, high, 0), cmap=style.SIMILARITY)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.75, pad=0.02)
        bar.set_label("cosine similarity", fontsize=9)
        bar.outline.set_visible(False)
        for axis in axes:
            axis.set_anchor("N")
        truth = _place(field, *lonlat)
        guess = _place(field, finding.lon, finding.lat)
        for axis in axes[1:]:
            marks = _marks(axis, truth, guess)
            _metre_ticks(axis, wide)
        _legend(figure, marks)
        axes[1].plot([truth[0], guess[0]], [truth[1], guess[1]], "--", color="white", lw=1)
        axes[1].set_xlabel(
            f"{finding.error_m:.0f} m apart (random point: {finding.guess_m:.0f} m)", fontsize=9
        )
        return figure


def similarities(maps: list, lonlat: tuple) -> Figure:
    """Cosines of one photo: a row of panels each resolution, a column each reading, with the truth
    and the most similar cell. Each panel has a colour bar, from its own 2nd percentile to its
    maximum: readings differ in their level. maps: of `research.maps.similarity`, by resolution."""
    with style.context():
        resolutions = list(dict.fromkeys(m.resolution for m in maps))
        columns = len(maps) // len(resolutions)
        figure = Figure(figsize=(style.WIDTH, 3.1 * len(resolutions) + 0.3))
        axes = figure.subplots(len(resolutions), columns, squeeze=False)
        marks = {}
        for axis, drawn in zip(axes.flat, maps):
            wide, high = _metres(drawn.field)
            found = find(drawn.field, drawn.cosine, *lonlat)
            low, top = similarity_limits(drawn.cosine)
            shown = axis.imshow(
                drawn.cosine, extent=(0, wide, high, 0), cmap=style.SIMILARITY, vmin=low, vmax=top
            )
            bar = figure.colorbar(shown, ax=axis, shrink=0.8, pad=0.03, extend="min")
            bar.set_label("cosine similarity", fontsize=9)
            bar.ax.tick_params(labelsize=9)
            style.image_axes(axis)
            axis.set_title(f"{drawn.name}\n{drawn.resolution:g} m a cell", fontsize=9)
            guess = _place(drawn.field, found.lon, found.lat) if found else None
            marks |= _marks(axis, _place(drawn.field, *lonlat), guess)
            _metre_ticks(axis, wide)
            said = f"most similar place {found.error_m:.0f} m off" if found else flat_note(top)
            axis.set_xlabel(said, fontsize=9)
        _legend(figure, marks)
        return figure


def errors(findings: list[Finding]) -> Figure:
    """Share of a scene's photos that are found within a distance, against a random point."""
    with style.context():
        found = np.sort([f.error_m for f in findings])
        guess = np.sort([f.guess_m for f in findings])
        figure = Figure(figsize=(style.WIDTH, 3.0))
        axis = figure.subplots()
        share = np.arange(1, len(found) + 1) / len(found)
        axis.step(np.r_[0, found], np.r_[0, share], where="post", label="most similar place")
        axis.axvline(np.median(guess), color=style.GREY, ls="--", label="random point, median")
        axis.axhline(0.5, color=style.GREY, lw=0.8, ls=":")
        axis.set(
            xlabel="distance from the true position (m)",
            ylabel="share of photos",
            ylim=(0, 1.02),
            xlim=(0, None),
        )
        axis.set_title(f"{len(found)} photos of this scene")
        axis.legend(loc="lower right")
        return figure


def _marks(axis, truth: tuple, guess: tuple | None) -> dict:
    """The true place and the most similar one (None: there is none), metres; the white ring has a
    black one below it, to be seen on light ground too. Returns what a legend takes: label -> what
    was drawn."""
    (point,) = axis.plot(
        *truth, "o", ms=8, mfc=style.VERMILION, mec="white", mew=1.5, clip_on=False
    )
    if guess is None:
        return {"truth": point}
    below, ring = (
        axis.plot(*guess, "o", ms=11, mfc="none", mec=colour, mew=width, clip_on=False)[0]
        for colour, width in (("black", 3.6), ("white", 2))
    )
    return {"truth": point, "most similar": (below, ring)}


def _legend(figure: Figure, drawn: dict) -> None:
    figure.legend(drawn.values(), drawn, loc="outside lower left", ncols=2, fontsize=9)


def _metre_ticks(axis, wide: float) -> None:
    """Both ends of a panel's width, written inside of it: a neighbour's begin where it ends."""
    axis.set_xticks([0, wide], ["0", f"{wide:,.0f} m"], fontsize=9)
    for text, side in zip(axis.get_xticklabels(), ("left", "right")):
        text.set_horizontalalignment(side)


def _metres(field: Field) -> tuple[float, float]:
    """Ground width and height of the field."""
    c0, r0, wide, high = field.window
    across, down = field.scene.pixel_metres(c0 + wide / 2, r0 + high / 2)
    return wide * across, high * down


def _place(field: Field, lon: float, lat: float) -> tuple[float, float]:
    """lon/lat -> metres from the field's upper-left corner, to the right and down."""
    scene: Scene = field.scene
    c0, r0, wide, high = field.window
    column, row = scene.to_pixels(lon, lat)
    width, height = _metres(field)
    return float((column - c0) / wide * width), float((row - r0) / high * height)
