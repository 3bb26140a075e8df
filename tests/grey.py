"""Can the curves of a figure be told apart in grey print?  A helper of the tests of figures."""

from __future__ import annotations

from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandits.plots import style

PATTERNS = {"none"} | {() if line == style.SOLID else line[1] for line in style.LINES}


def alike_in_grey(figure: Figure) -> list[str]:
    """Named curves that a panel or a legend tells apart by colour alone, and lines that the table has not."""
    panels = [axes.get_legend_handles_labels() for axes in figure.axes]
    legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
    panels += [(each.legend_handles, [text.get_text() for text in each.get_texts()]) for each in legends]
    found = []
    for handles, labels in panels:
        seen: dict[object, str] = {}
        for handle, label in zip(handles, labels, strict=True):
            line = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
            if not isinstance(line, Line2D):
                continue  # a surface, a bar, or the bars of an error
            dashes, marker, face = (
                line._unscaled_dash_pattern[1],
                line.get_marker(),
                line.get_markerfacecolor(),
            )
            pattern = "none" if line.get_linestyle() == "None" else tuple(dashes or ())
            if pattern not in PATTERNS:
                found.append(f"{label!r} takes its dashes {pattern} from elsewhere than style.LINES")
            look = (pattern, marker, face == "none")
            if seen.setdefault(look, label) != label:
                found.append(f"{label!r} looks like {seen[look]!r}")
    return found
