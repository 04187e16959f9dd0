"""The band instrument in a real browser: its numbers are the package's, every action works.

One page, built once, opened from disk without a network; the sound that Python measures is the one
that the browser decoded.
"""

import base64
import json
from dataclasses import replace

import browser
import numpy as np
import pytest

from bsrnn import bands, data, design, models
from bsrnn.bands import oracle
from bsrnn.bands.frames import centred
from bsrnn.common import UsageError
from bsrnn.explore import instrument
from bsrnn.models.cost import cost

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium not installed")
OF = "document.querySelector('.bsrnn-bands').instrument"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("instrument") / "bands.html"
    path.write_text(instrument.page(data.open("clip")[0], ("v7", "mel48"), n_ffts=(2048,)))
    return path


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=browser.CHROMIUM, args=browser.FLAGS)
        yield running
        running.close()


@pytest.fixture
def tab(chromium, file):
    """The page, ready; it must neither fail nor ask for anything outside."""
    yield from opened(chromium, file.as_uri())


def opened(chromium, address, width=1200):
    context = chromium.new_context(viewport={"width": width, "height": 1000})
    tab, problems = context.new_page(), []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.on("request", lambda r: problems.append(r.url) if r.url.startswith("http") else None)
    tab.set_default_timeout(240_000)
    tab.goto(address)
    tab.wait_for_function(f"() => {OF}?.lanes?.length")
    yield tab
    context.close()
    assert not problems


@pytest.fixture(scope="module")
def heard(chromium, file):
    """What the page decoded, stem -> (C, L) float32, and its numbers of every scheme."""
    for tab in opened(chromium, file.as_uri()):
        stems = tab.evaluate(
            f"""() => Object.fromEntries(Object.entries({OF}.sources.stems).map(([name, x]) =>
                [name, x.map(y => btoa(Array.from(new Uint8Array(y.buffer),
                    b => String.fromCharCode(b)).join("")))]))"""
        )
        numbers = tab.evaluate(
            f"""async () => {{
                const made = {{}}, i = {OF};
                for (const {{ name }} of i.grid.schemes) {{
                    const scheme = i.builtIn(name);
                    await i.excerpt.solve(scheme);
                    const {{ wrong, bounds, parameters, macs }} = i.numbers(scheme);
                    made[name] = {{
                        wrong, bounds: Array.from(bounds), parameters, macs,
                        share: i.excerpt.share(scheme, "bass"), lost: i.excerpt.lost(scheme, "bass"),
                    }};
                }}
                return made;
            }}"""
        )
    decode = lambda text: np.frombuffer(base64.b64decode(text), np.float32)  # noqa: E731
    return {name: np.stack([*map(decode, x)]) for name, x in stems.items()}, numbers


def test_the_numbers_of_all_schemes_are_the_packages(heard):
    sources, numbers = heard
    assert list(numbers) == bands.names()
    bound = design.Bound.of(sources, 44100)
    mixture = centred(sum(sources.values()), 2048)
    bass = centred(sources["bass"], 2048)
    energy = np.square(np.abs(bass)).sum(axis=(0, 2))  # (F,)
    tiny = models.presets()["tiny"]
    tiny = replace(tiny, stft=replace(tiny.stft, n_fft=2048, hop=512))
    for name, row in numbers.items():
        scheme = bands.scheme(name)
        assert row["wrong"] == ""
        np.testing.assert_allclose(row["bounds"], bound.sdr_db(scheme), atol=1e-3, err_msg=name)
        matrix = scheme.matrix.astype(float)
        np.testing.assert_allclose(row["share"], matrix @ energy / energy.sum(), atol=1e-7)
        price = cost(replace(tiny, scheme=name), 6.0)
        assert (row["parameters"], row["macs"]) == (price.parameters, price.macs), name
        if name in ("v7", "mel48", "musical64"):
            (mask,) = oracle.masks(scheme, bass[None], mixture)
            error = np.square(np.abs(bass - mask * mixture)).sum(axis=(0, 2))
            np.testing.assert_allclose(row["lost"], matrix @ error / energy.sum(), atol=1e-6)
