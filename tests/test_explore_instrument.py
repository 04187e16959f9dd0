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
RATE = 44100
OF = "document.querySelector('.bsrnn-bands').instrument"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("instrument") / "bands.html"
    song = data.open("clip")[0].sources(RATE, 5 * RATE // 2), RATE
    path.write_text(instrument.page(song, ("v7", "mel48"), n_ffts=(2048, 1024)))
    return path


@pytest.fixture(scope="module")
def opened(file):
    """The page, ready: it must neither fail nor ask for anything outside."""
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=browser.CHROMIUM, args=browser.FLAGS)
        context = running.new_context(viewport={"width": 1200, "height": 1000})
        tab, problems = context.new_page(), []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda r: problems.append(r.url) if r.url.startswith("http") else None)
        tab.set_default_timeout(240_000)
        tab.goto(file.as_uri())
        tab.wait_for_function(f"() => {OF}?.lanes?.length")
        tab.evaluate(f"() => {{ window.first = {OF}.setting(); }}")
        yield tab
        running.close()
        assert not problems


@pytest.fixture
def tab(opened):
    """The page as it was at first, and silent."""
    opened.evaluate(
        f"""async () => {{ const i = {OF}; i.playPause(false); i.past = []; i.game = null;
            i.free.checked = false; i.restore(window.first);
            for (const {{ scheme }} of i.lanes) await i.excerpt.solve(scheme); }}"""
    )
    settled(opened)
    return opened


def settled(tab):
    """Wait until what changed is drawn and can be heard."""
    tab.wait_for_function(f"() => !{OF}._frame && {OF}._heardSince == null")


def of(tab, words):
    """The value of an expression about the instrument `i`."""
    return tab.evaluate(f"() => {{ const i = {OF}; return {words}; }}")


@pytest.fixture(scope="module")
def heard(opened):
    """What the page decoded, stem -> (C, L) float32."""
    stems = opened.evaluate(
        f"""() => Object.fromEntries(Object.entries({OF}.sources.stems).map(([name, x]) =>
            [name, x.map(y => btoa(Array.from(new Uint8Array(y.buffer),
                b => String.fromCharCode(b)).join("")))]))"""
    )
    decode = lambda text: np.frombuffer(base64.b64decode(text), np.float32)  # noqa: E731
    return {name: np.stack([*map(decode, x)]) for name, x in stems.items()}


NUMBERS = f"""async () => {{
    const made = {{}}, i = {OF};
    for (const {{ name }} of i.grid.schemes) {{
        const scheme = i.builtIn(name);
        await i.excerpt.solve(scheme);
        const {{ wrong, bounds, parameters, macs }} = i.numbers(scheme);
        const share = i.excerpt.share(scheme, "bass"), lost = i.excerpt.lost(scheme, "bass");
        made[name] = {{ wrong, bounds: Array.from(bounds), parameters, macs, share, lost }};
    }}
    return made;
}}"""


def test_the_numbers_of_all_schemes_are_the_packages(tab, heard):
    sources, numbers = heard, tab.evaluate(NUMBERS)
    assert list(numbers) == bands.names()
    bound = design.Bound.of(sources, RATE)
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


def test_all_bands_together_are_the_input_and_a_mask_leaves_its_rest(tab):
    decibels = """(() => {
        const e = i.excerpt, scheme = i.lanes[1].scheme, ones = new Float32Array(e.bins).fill(1);
        const off = (x, y) => { let error = 0, energy = 0; x.forEach((a, c) => a.forEach((v, n) => {
            error += (v - y[c][n]) ** 2; energy += y[c][n] ** 2; }));
            return 10 * Math.log10(error / energy); };
        const mixture = e.sounds.mixture, parts = ["allowed", "rest"].map(
            kind => e.sound(kind, "bass", scheme, null));
        return [off(e.sound("plain", "mixture", scheme, ones), mixture),
            off(parts[0].map((x, c) => x.map((v, n) => v + parts[1][c][n])), mixture)];
    })()"""
    assert max(of(tab, decibels)) < -90


def test_the_oracles_sound_has_the_bounds_error(tab, heard):
    """The sound of "A allows" is as far from the stem as the bound says, in the time domain too."""
    allowed = of(
        tab, "i.excerpt.sound('allowed', 'bass', i.lanes[0].scheme, null).map(x => [...x])"
    )
    bass = heard["bass"].astype(float)
    sdr_db = 10 * np.log10(np.square(bass).sum() / np.square(bass - allowed).sum())
    bound_db = of(tab, "i.numbers(i.lanes[0].scheme).bounds[1]")
    assert bound_db - 0.1 < sdr_db < bound_db + 2  # resynthesis may only come nearer


def test_greedy_is_the_packages(tab, heard):
    want = design.greedy(design.Bound.of(heard, RATE, stems=["bass"]), 12)
    made = tab.evaluate(f"() => {OF}.excerpt.greedy(12, ['bass'])")
    assert [tuple(band) for band in made] == list(want.ranges)


BROKEN = [
    {"ranges": []},
    {"ranges": [[0, 9], [9, 9], [9, 1025]]},
    {"ranges": [[0, 9], [9, 1026]]},
    {"ranges": [[9, 1025], [0, 9]]},
    {"ranges": [[0, 9], [9, 1020]]},
    {"ranges": [[0, 9], [12, 1025]]},
    {"ranges": [[0, 12], [9, 1025]]},
    {"ranges": [[0, 1025], [0, 1025]], "weights": [[0.5] * 1025, [0.25] * 1025]},
    {"ranges": [[0, 9], [9, 1025]]},
]


@pytest.mark.parametrize("scheme", BROKEN, ids=str)
def test_validity_is_said_in_the_packages_words(tab, scheme):
    scheme = {"name": "mine", "sample_rate": RATE, "n_fft": 2048, "uncovered": [], **scheme}
    try:
        bands.BandScheme.from_json(json.dumps(scheme))
        want = ""
    except UsageError as error:
        want = str(error)
    assert tab.evaluate(f"s => {OF}.numbers({{ weights: null, ...s }}).wrong", scheme) == want


@pytest.mark.parametrize("edges", [[100, 30000], [300, 100], [100, 101], [-5, 100], [430.664, 4e3]])
def test_edges_in_hz_are_cut_as_in_the_package(tab, edges):
    tab.evaluate(f"edges => {OF}.setEdges(edges.join(' '))", edges)
    try:
        want = bands.from_edges_hz(edges)
    except UsageError as error:
        assert of(tab, "i.status.textContent") == str(error)
        assert of(tab, "i.active.scheme.name") == "v7", "what was there stays"
        return
    assert of(tab, "i.active.scheme.ranges") == [list(band) for band in want.ranges]


# By mouse and by keyboard


def point(tab, lane, hz, part=0.3):
    """(x, y) on the window of a frequency in a lane."""
    box = tab.locator(".stage").bounding_box()
    place = of(tab, f"[i.place.lanes[{lane}].x, i.place.lanes[{lane}].width, i.place.y({hz})]")
    return box["x"] + place[0] + part * place[1], box["y"] + place[2]


def test_mouse_hears_mutes_and_sweeps(tab):
    v7 = bands.scheme("v7").spans_hz
    low, high = (next(k for k, (_, hi) in enumerate(v7) if hi > hz) for hz in (450, 2900))
    tab.mouse.click(*point(tab, 0, 450))
    assert of(tab, "[...i.solo]") == [low] and of(tab, "i.player.playing")
    assert f"band {low} of 41: 409 Hz to 517 Hz" in of(tab, "i.status.textContent")
    tab.mouse.click(*point(tab, 0, 450))
    assert of(tab, "i.solo.size") == 0
    tab.keyboard.down("Shift")
    tab.mouse.click(*point(tab, 0, 450))
    tab.keyboard.up("Shift")
    assert of(tab, "[...i.muted]") == [low] and not of(tab, f"i.isOn({low})")
    tab.mouse.move(*point(tab, 0, 450))
    tab.mouse.down()
    tab.mouse.move(*point(tab, 0, 2900), steps=4)
    tab.mouse.up()
    assert of(tab, "[...i.solo]") == [high]
    settled(tab)
    gains = bands.scheme("v7").matrix[high]
    np.testing.assert_array_equal(of(tab, "[...i.gains()]"), gains)


def test_mouse_drags_splits_and_undoes(tab):
    tab.mouse.move(*point(tab, 0, bands.scheme("v7").spans_hz[4][0]))
    tab.mouse.down()
    tab.mouse.move(*point(tab, 0, 450), steps=3)
    tab.mouse.up()
    moved = of(tab, "i.active.scheme")
    assert moved["name"] == "v7-own" and len(moved["ranges"]) == 41
    assert moved["ranges"][3][1] == moved["ranges"][4][0] == round(450 * 2048 / RATE)
    tab.mouse.dblclick(*point(tab, 0, 60))
    assert of(tab, "i.active.scheme.ranges.length") == 42
    assert of(tab, "i.solo.size") == 0
    for _ in range(2):
        tab.get_by_role("button", name="Undo").click()
    assert of(tab, "i.active.scheme.name") == "v7"
    tab.get_by_role("button", name="Redo").click()
    assert of(tab, "i.active.scheme.ranges") == moved["ranges"]


KEYS = [
    ("ArrowUp", "i.active.band", 5),
    ("Enter", "[...i.solo]", [5]),
    ("ArrowDown", "[...i.solo]", [4]),
    ("Escape", "i.solo.size", 0),
    ("m", "[...i.muted]", [4]),
    ("m", "i.muted.size", 0),
    ("s", "i.active.scheme.ranges.length", 42),
    ("Delete", "i.active.scheme.ranges.length", 41),
    ("z", "i.active.scheme.ranges.length", 42),
    ("y", "i.active.scheme.ranges.length", 41),
    ("Shift+ArrowUp", "i.active.scheme.ranges[4]", [19, 25]),
    ("Alt+ArrowDown", "i.active.scheme.ranges[4]", [18, 25]),
    ("End", "i.active.band", 40),
    ("Home", "i.active.band", 0),
    ("1", "i.state.hear", "mixture"),
    ("4", "i.state.hear", "B"),
    ("5", "i.state.hear", "rest"),
    ("o", "i.state.boost", True),
    ("Space", "i.player.playing", False),  # it began with the band that was heard
    ("Space", "i.player.playing", True),
]


def test_every_key_does_what_the_list_says(tab):
    for _ in range(40):  # reached by the Tab key alone, with a ring around it
        tab.keyboard.press("Tab")
        if tab.evaluate("() => document.activeElement.className") == "lane":
            break
    assert of(tab, "getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, words, value in KEYS:
        tab.keyboard.press(key)
        assert of(tab, words) == value, key
        settled(tab)


def test_snapping_goes_to_semitones_and_to_edges_of_another(tab):
    for choice, hz in (("semitones", [440 * 2 ** (n / 12) for n in range(-60, 68)]), ("B", None)):
        tab.get_by_label("snap to").select_option(choice)
        bins = (
            [int(np.ceil(f * 2048 / RATE)) for f in hz]
            if hz
            else instrument.touching(bands.scheme("mel48"))
        )
        for key in ("Shift+ArrowUp", "Shift+ArrowDown", "Shift+ArrowDown"):
            tab.locator(".lane").first.focus()
            tab.keyboard.press(key)
            assert of(tab, "i.active.scheme.ranges[i.active.band][1]") in bins
