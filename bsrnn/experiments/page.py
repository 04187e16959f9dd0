"""An executed lesson as one self-contained HTML page: no network, no CDN, nothing to install."""

import base64
import html
import io
import re
from pathlib import Path

from bsrnn.common import write_text

_WIDGET = "application/vnd.jupyter.widget-view+json"
_NOTE = "<p><em>A widget: open the lesson in Jupyter to use it.</em></p>"
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_MATH = re.compile(
    r"(?<!\\)\$\$(.+?)\$\$|(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\d$])", re.DOTALL
)
_STOP = re.compile(r'(<img class="math"[^>]*>)([-.,;:?!)]+)')  # stays beside its formula
_UNIT = re.compile(r"(?<=\d) (?=%|(?:dB|dBFS|Hz|kHz|ms)\b)")  # no line ends between them
# nbconvert's own page without what it would fetch; pictures have their alt text, tables scroll.
_TEMPLATE = """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js %}{% endblock -%}
{%- block html_head_js_mathjax %}{% endblock -%}
{%- block html_head_js_mermaidjs %}{% endblock -%}
{%- block jupyter_widgets %}{% endblock -%}
{%- block html_head_css %}<style>
body {max-width: 60rem; margin: 0 auto !important; padding: 1rem !important}
.jp-Cell {overflow-wrap: break-word} .jp-OutputArea-output, .highlight {overflow-x: auto}
.jp-InputArea, .jp-InputArea-editor, .jp-RenderedMarkdown {min-width: 0}
:is(.jp-OutputArea-output, .jp-RenderedMarkdown) pre {
  white-space: pre !important; word-break: normal !important; overflow-x: auto}
.jp-RenderedMarkdown .highlight {padding: .5em; margin: .5em 0}
.jp-RenderedMarkdown .highlight pre {margin: 0; background: none}
table {display: block !important; overflow-x: auto; width: fit-content; max-width: 100%}
:is(.dataframe tbody :is(td, th), table code, .whole) {white-space: nowrap}
@media (max-width: 600px) {.jp-RenderedMarkdown :is(td, th) {min-width: 5rem}}
.jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser {display: none !important}
img, audio, svg {max-width: 100%; height: auto} audio {min-height: 2.5rem}
img.math {margin: 0 .1em} :is(h1, h2, h3) {line-height: 1.25 !important}
p.formula {text-align: center !important; overflow-x: auto}
</style>{% endblock -%}
{%- block data_png %}<div class="jp-RenderedImage jp-OutputArea-output">
<img alt="{{ (output | get_metadata('alt', 'image/png') or 'figure') | escape_html }}"
 src="data:image/png;base64,{{ output.data['image/png'] | replace('\n', '') }}">
</div>{% endblock -%}
"""


def write_page(notebook, path) -> Path:
    """Write the executed `notebook` as one HTML file at `path`, atomically.

    Pictures are embedded with their alt text, formulas are drawn as SVG, a widget shows what
    its output first showed, and every script that would be fetched is left out.
    """
    from jinja2 import DictLoader

    loader = DictLoader({"page.html.j2": _TEMPLATE})
    shown = still(notebook)
    write_text(Path(path), rendered(shown, loader, "page.html.j2", "lab", Path(path).stem))
    return Path(path)


def rendered(notebook, loader, template: str, kind: str = "basic", name: str = "") -> str:
    """HTML of a notebook by `template` of the jinja2 `loader`, which extends nbconvert's `kind`."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name=kind, extra_loaders=[loader])
    exporter.template_file = template  # embed_images=True would empty <details>
    return exporter.from_notebook_node(notebook, {"metadata": {"name": name}})[0]


def still(notebook):
    """A copy of `notebook` that needs no kernel, no network and no typesetting script."""
    import copy

    from bsrnn.experiments.notebooks import nbformat

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
    from bsrnn.experiments.notebooks import nbformat

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
