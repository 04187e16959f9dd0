"""An executed lesson as one self-contained HTML page: no network, no CDN, nothing to install."""

import base64
import copy
import html
import io
import re
from pathlib import Path

from bsrnn.common import write_text
from bsrnn.experiments.notebooks import nbformat

_WIDGET = "application/vnd.jupyter.widget-view+json"
_NOTE = "<p><em>A widget: open the lesson in Jupyter to use it.</em></p>"
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_MATH = re.compile(
    r"(?<!\\)\$\$(.+?)\$\$|(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\d$])", re.DOTALL
)
_STOP = re.compile(r'(<img class="math"[^>]*>)([-.,;:?!)]+)')  # stays beside its formula
_UNIT = re.compile(r"(?<=\d) (?=%|(?:dB|dBFS|Hz|kHz|ms)\b)")  # no line ends between them


def write_page(notebook, path) -> Path:
    """Write the executed `notebook` as one HTML file at `path`: pictures embedded with their alt
    text, formulas drawn as SVG, of a widget what its output first showed, no scripts to fetch."""
    from jinja2 import FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    page = rendered(still(notebook), loader, "page.html.j2", "lab", Path(path).stem)
    write_text(Path(path), page)
    return Path(path)


def rendered(notebook, loader, template: str, kind: str = "basic", name: str = "") -> str:
    """HTML of a notebook by `template` of the jinja2 `loader`, which extends nbconvert's `kind`."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name=kind, extra_loaders=[loader])
    exporter.template_file = template  # embed_images=True would empty <details>
    return exporter.from_notebook_node(notebook, {"metadata": {"name": name}})[0]


def still(notebook):
    """A copy of `notebook` that needs no kernel, no network and no typesetting script."""
    lesson = nbformat.from_dict(copy.deepcopy(notebook))
    models = lesson.metadata.pop("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            cell.source = _markdown(cell.source, cell.get("attachments", {}))
            continue
        outputs = []
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(_WIDGET)
            if view and "text/html" not in output["data"]:
                outputs.append(nbformat.v4.new_output("display_data", {"text/html": _NOTE}))
                outputs += _captured(view["model_id"], models.get("state", {}), set())
            else:
                outputs.append(output)
        for data in (output.get("data", {}) for output in outputs):
            if "text/markdown" in data and "image/png" not in data:
                data["text/markdown"] = _markdown("".join(data["text/markdown"]), {})
        cell.outputs = outputs
    return lesson


def _captured(model_id: str, models: dict, seen: set) -> list:
    """What the Output widgets inside the widget `model_id` show."""
    if model_id in seen or model_id not in models:
        return []
    seen.add(model_id)
    state = models[model_id].get("state", {})
    found = [nbformat.from_dict(o) for o in state.get("outputs", [])]
    for child in state.get("children", []):
        found += _captured(str(child).removeprefix("IPY_MODEL_"), models, seen)
    return found


def _markdown(text: str, attachments: dict) -> str:
    """Markdown with formulas drawn, the remote badge as a plain link, lost pictures as words."""
    text = re.sub(r"\[!\[(Open in Colab)\]\([^)]*\)\]", r"[\1]", text)

    def lost(match):
        return match[0] if match[2] in attachments else f"*({match[1]})*"

    text = re.sub(r"!\[([^\]]*)\]\(attachment:([^)]+)\)", lost, text)
    parts = _CODE.split(text)  # code stands at the odd places
    for place in range(0, len(parts), 2):
        drawn = _MATH.sub(lambda m: _formula(m[1] or m[2], bool(m[1])), parts[place])
        drawn = _STOP.sub(r'<span class="whole">\1\2</span>', drawn)
        drawn = drawn.replace(r"\$", "$").replace("$", "&#36;")  # the rest are prices
        parts[place] = _UNIT.sub("\u00a0", drawn)
    return "".join(parts)


def _formula(tex: str, display: bool) -> str:
    """A formula as an SVG picture with its TeX as alt text; as code where it cannot be drawn."""
    from matplotlib import mathtext
    from matplotlib.font_manager import FontProperties

    tex, buffer = " ".join(tex.split()), io.BytesIO()
    font = FontProperties(size=15 if display else 12, math_fontfamily="cm")
    drawn = re.sub(r"\\sqrt\s+(\w)", r"\\sqrt{\1}", tex)  # mathtext wants the braces
    drawn = re.sub(r"(\\sum(?:[_^](?:\{[^{}]*\}|\w))*)", r"\1\\,", drawn)  # it leaves no gap
    drawn = drawn.replace(r"\frac", r"\dfrac") if display else drawn
    try:
        below = mathtext.math_to_image(f"${drawn}$", buffer, font, dpi=72, format="svg")
    except ValueError:
        return f"`{tex}`"
    source = base64.b64encode(buffer.getvalue()).decode()
    style = f"vertical-align: {-below:.2f}pt"
    if display:  # on a narrow page it shrinks to two thirds, then it scrolls
        width_pt = float(re.search(rb'width="([\d.]+)pt"', buffer.getvalue())[1])
        style += f"; min-width: {width_pt * 2 / 3:.0f}pt"
    picture = (
        f'<img class="math" alt="{html.escape(tex)}" style="{style}"'
        f' src="data:image/svg+xml;base64,{source}">'
    )
    return f'\n\n<p class="formula">{picture}</p>\n\n' if display else picture
