"""Does the built book hold together, and does it load nothing from elsewhere?

`python notebooks/book/site_check.py build/book/html` reads every page, script and style sheet:

    loads     nothing that a browser fetches by itself (scripts, styles, pictures, fonts, frames) has a host
    links     every link to a page of the book leads to a file, and every #anchor to an element with that id
    names     every public name has its entry in the reference
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {  # element -> its attributes that a browser fetches by itself
    **dict.fromkeys(
        ("script", "img", "iframe", "source", "audio", "video", "embed"), ("src", "srcset", "data-src")
    ),
    **{
        "object": ("data",),
        "link": ("href",),
        "use": ("href", "xlink:href"),
        "image": ("href", "xlink:href"),
    },
    **{"form": ("action",), "video": ("src", "poster")},
}
SAYS = {
    "canonical",
    "next",
    "prev",
    "index",
    "search",
    "author",
    "license",
    "help",
}  # links that load nothing
IN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
IN_SCRIPT = re.compile(
    r"(?:import\s*\(?|importScripts\(|fetch\(|\.src\s*=|\.open\(\s*['\"]\w+['\"],|XMLHttpRequest\(|from)\s*"
    r"['\"`]((?:https?:)?//[^'\"`\s]+)"
)


class Page(HTMLParser):
    """What one page loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.inside = tag if tag in ("script", "style") else ""
        if not (tag == "link" and SAYS & set(given.get("rel", "").split())):
            self.loads += [given[name] for name in LOADS.get(tag, ()) if name in given]
        self.loads += IN_STYLE.findall(given.get("style", ""))
        self.links += [given["href"]] if tag == "a" and given.get("href") else []

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.loads += (IN_STYLE if self.inside == "style" else IN_SCRIPT).findall(data)


def elsewhere(address: str) -> bool:
    """Whether a browser would leave the book for it.

    >>> [elsewhere(each) for each in ("https://x.org/a.js", "//x.org/a.js", "_static/a.js", "data:a/b,A")]
    [True, True, False, False]
    """
    return any(urlsplit(each.strip()).netloc != "" for each in address.split(", "))


def faults(site: Path, public: set[str] = frozenset()) -> Iterator[str]:
    """One line for each thing that is wrong."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: no page"
    for path, page in pages.items():
        name = path.relative_to(site)
        yield from (f"{name} loads {each}" for each in page.loads if elsewhere(each))
        told = ((each, broken(site, path, each, pages)) for each in page.links)
        yield from (f"{name} links to {each}: {why}" for each, why in told if why)
    for path in sorted({*site.rglob("*.js"), *site.rglob("*.css"), *site.rglob("*.svg")}):
        text = path.read_text(encoding="utf-8", errors="replace")
        found = IN_STYLE.findall(text) + (IN_SCRIPT.findall(text) if path.suffix == ".js" else [])
        yield from (f"{path.relative_to(site)} loads {each}" for each in found)
    documented = set().union(*(page.ids for page in pages.values())) if pages else set()
    yield from (
        f"{name} is public, and has no entry in the reference" for name in sorted(public - documented)
    )


def broken(site: Path, path: Path, link: str, pages: dict[Path, Page]) -> str:
    """Why a link of a page leads nowhere; empty if it does not, or leaves the book."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "" if parts.scheme in ("http", "https", "mailto") else "what scheme is that?"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists() or not target.is_relative_to(site):
        return "no such file"
    known = pages.get(target)
    anchor = unquote(parts.fragment)
    missing = anchor and known is not None and anchor not in known.ids and "=" not in anchor
    return f"no #{anchor} there" if missing else ""


def main(site: Path) -> int:
    """Print what is wrong; 1 if anything is."""
    from reference_pages import documented_ids

    found = list(faults(site.resolve(), documented_ids()))
    print("\n".join(found) or f"{site}: nothing comes from elsewhere, every link holds, every name is told")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
