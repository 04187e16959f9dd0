"""What a person does to the band instrument, by mouse or by keys, in whatever page it stands.

    hands = Hands(tab, "keys")
    hands.does("split a band")

`ACTIONS` is the list; each begins from the setting that the instrument had at first, two schemes
of which A is v7, and ends when its words about the instrument `i` are true.
"""

import re

OF = "document.querySelector('.bsrnn-bands').instrument"
OWN = "i.active.scheme.own && i.active.scheme.ranges"
NEW = "([lo]) => !i.builtIn('v7').ranges.some(([x]) => x === lo)"
SEMITONES = "Array.from({ length: 99 }, (_, n) => Math.ceil(440 * 2 ** ((n - 49) / 12) / i.step))"
TABLE = {"name": "edges.csv", "mimeType": "text/csv", "buffer": b"edge_hz\n0\n500\n4000\n22050\n"}
RUNS = ("wait", "i.player.position() > 0.05")
FOUR = ("number", "bands", "4")
# name: (what is true then, what is done by mouse, what is done by keys where that differs)
ACTIONS = {
    "hear a band": ("i.player.playing && i.solo.has(4)", [("click", 450)], [("press", "Enter")]),
    "mute a band": ("i.muted.has(4) && !i.isOn(4)", [("shift_click", 450)], [("press", "m")]),
    "mute a band, by a button": (
        "i.muted.has(4) && i.solo.size === 0", [("click", 450), ("button", "Mute band")]
    ),
    "sweep over bands": (
        "i.player.playing && i.solo.size === 1 && !i.solo.has(4)",
        [("drag", 450, 2900)],
        [("press", "Enter"), ("press", "ArrowUp")],
    ),
    "choose a band": (
        "i.active.band === 40",
        [("click", 21500)],
        [("press", "Home"), ("press", "End")],
    ),
    "all bands again": (
        "i.solo.size === 0 && i.status.textContent === 'all bands'",
        [("click", 450), ("button", "All bands")],
        [("press", "Enter"), ("press", "Escape")],
    ),
    "move an edge": (
        f"{OWN}.length === 41 && {OWN}[4][0] > 19 && !({OWN}).some(([lo], k, all) =>"
        " k && lo !== all[k - 1][1])",
        [("drag", 409.13, 450)],
        [("press", "Alt+ArrowUp")],
    ),
    "snap to semitones": (
        f"{OWN}.some({NEW}) && {OWN}.filter({NEW}).every(([lo]) => {SEMITONES}.includes(lo))",
        [("choose", "snap to"), ("drag", 4005.2, 4450)],
        [("choose", "snap to"), ("focus",), ("press", "PageUp"), ("press", "Shift+ArrowUp")],
    ),
    "split a band": (f"({OWN}).length === 42", [("double_click", 60)], [("press", "s")]),
    "merge two bands": (
        f"{OWN}.length === 40", [("click", 450), ("button", "Merge")], [("press", "Delete")]
    ),
    "undo": (
        "!i.active.scheme.own && i.future.length === 1",
        [("button", "Split"), ("button", "Undo")],
        [("press", "s"), ("press", "z")],
    ),
    "redo": (
        f"{OWN}.length === 42 && i.future.length === 0",
        [("button", "Split"), ("button", "Undo"), ("button", "Redo")],
        [("press", "s"), ("press", "z"), ("press", "y")],
    ),
    "allow gaps": ("i.free.checked", [("check", "gaps and overlaps allowed")]),
    "play": ("i.player.playing", [("button", "▶ Play")], [("press", "Space")]),
    "pause": (
        "!i.player.playing && i.player.offset > 0",
        [("button", "▶ Play"), RUNS, ("button", "❚❚ Pause")],
        [("press", "Space"), RUNS, ("press", "Space")],
    ),
    "go to a time": ("i.player.position() > 0.3", [("range",)]),
    "hear what A allows": ("i.state.hear === 'A'", [("hearing", "A allows")], [("press", "3")]),
    "hear the rest": ("i.state.hear === 'rest'", [("hearing", "the rest")], [("press", "5")]),
    "boost": ("i.state.boost", [("button", "Boost")], [("press", "o")]),
    "another scheme": ("i.lanes[0].scheme.name !== 'v7'", [("choose", "scheme A")]),
    "add a scheme": ("i.lanes.length === 3", [("button", "Add a scheme")]),
    "remove a scheme": ("i.lanes.length === 1", [("button", "remove scheme B")]),
    "another stem": ("i.state.stem !== window.first.stem", [("choose", "stem")]),
    "another picture": ("i.state.show !== window.first.show", [("choose", "picture")]),
    "another axis": ("i.state.axis !== window.first.axis", [("choose", "axis")]),
    "cost of another network": ("i.state.preset !== window.first.preset", [("choose", "cost of")]),
    "another n_fft": ("i.state.n_fft !== window.first.n_fft", [("choose", "n_fft")]),
    "start from octaves": (
        "i.active.scheme.name === 'octave4-own'",
        [("choose", "start from"), FOUR, ("button", "Start")],
    ),
    "cut at edges in Hz": (
        f"{OWN}.length === 4",
        [("text", "own edges in Hz", "100 200 400"), ("button", "Cut here")],
    ),
    "play the game": (
        "i.game && i.active.scheme.name === 'equal4-own'", [FOUR, ("button", "Play the game")]
    ),
    "see greedy's bands": (
        "i.lanes[1].scheme.name === 'greedy4'",
        [FOUR, ("button", "Play the game"), ("wait", "i.game"), ("button", "Show greedy's")],
    ),
    **{
        button: ("i.status.textContent.endsWith('is saved')", [("saves", button)])
        for button in ("Save JSON", "Save CSV", "Save setting")
    },
    **{
        button: ("/^copied|copy it from there$/.test(i.status.textContent)", [("button", button)])
        for button in ("Copy Python", "Copy for training", "Copy a link")
    },
    "open a file": (f"({OWN}).length === 3", [("opens", "Open files …")]),
    "see the keys": ("i.root.querySelector('details').open", [("summary", "Keys")]),
}  # fmt: skip


class Hands:
    """Mouse or keys ("mouse", "keys") on the instrument of a Playwright tab."""

    def __init__(self, tab, way: str):
        self.tab, self.way, self.root = tab, way, tab.locator(".bsrnn-bands")

    def of(self, words):
        """The value of an expression about the instrument `i`."""
        return self.tab.evaluate(f"() => {{ const i = {OF}; return {words}; }}")

    def wait(self, words) -> None:
        self.tab.wait_for_function(f"() => {{ const i = {OF}; return {words}; }}")

    def settled(self) -> None:
        """Wait until what changed is drawn and can be heard."""
        self.wait("!i._frame && i._heardSince == null")

    def begin(self) -> None:
        """The setting that it had at first, silent, every oracle known."""
        self.tab.evaluate(
            f"""async () => {{ const i = {OF}; await i.ready;
                window.first ||= i.setting(); i.playPause(false); i.player.seek(0);
                i.past = []; i.future = []; i.game = null; i.free.checked = false;
                i.kind.selectedIndex = 0;
                i.root.querySelector("details").open = false; i.restore(window.first);
                for (const {{ scheme }} of i.lanes) await i.excerpt.solve(scheme); }}"""
        )
        self.settled()

    def does(self, action: str) -> None:
        """Begin, do it, and wait until it has happened."""
        true_then, *ways = ACTIONS[action]
        self.begin()
        self.focus()
        assert not self.of(true_then), f"{action}: true before"
        for step, *arguments in ways[-1] if self.way == "keys" else ways[0]:
            getattr(self, step)(*arguments)
        self.wait(true_then)
        self.settled()

    # Steps

    def focus(self) -> None:
        self.root.locator(".lane").first.focus()

    def press(self, key) -> None:
        self.tab.keyboard.press(key)

    def point(self, hz, lane=0, part=0.3):
        """(x, y) on the window of a frequency in a lane."""
        self.root.locator(".stage").scroll_into_view_if_needed()
        box = self.root.locator(".stage").bounding_box()
        place = self.of(f"[i.place.lanes[{lane}].x, i.place.lanes[{lane}].width, i.place.y({hz})]")
        return box["x"] + place[0] + part * place[1], box["y"] + place[2]

    def click(self, hz) -> None:
        self.tab.mouse.click(*self.point(hz))

    def double_click(self, hz) -> None:
        self.tab.mouse.dblclick(*self.point(hz))

    def shift_click(self, hz) -> None:
        self.tab.keyboard.down("Shift")
        self.click(hz)
        self.tab.keyboard.up("Shift")

    def drag(self, from_hz, to_hz) -> None:
        self.tab.mouse.move(*self.point(from_hz))
        self.tab.mouse.down()
        self.tab.mouse.move(*self.point(to_hz), steps=4)
        self.tab.mouse.up()

    def _use(self, control, key="Enter") -> None:
        if self.way == "mouse":
            control.click()
        else:
            control.focus()
            self.press(key)

    def control(self, label):
        """By its label, around it or its own."""
        around = self.root.locator("label").filter(has_text=re.compile(f"^{re.escape(label)}"))
        return self.root.locator(f'[aria-label="{label}"]').or_(around.locator("select, input"))

    def button(self, name) -> None:
        self._use(self.root.get_by_role("button", name=name, exact=True))

    def check(self, name) -> None:
        self._use(self.control(name), "Space")

    def summary(self, name) -> None:
        self._use(self.root.locator("summary", has_text=name))

    def hearing(self, name) -> None:
        self.root.locator(".hear label", has_text=name).click()

    def range(self) -> None:
        self._use(self.root.locator(".time"), "End")

    def choose(self, label) -> None:
        """The option after the chosen one, or the one before the last."""
        select = self.control(label)
        place, count = select.evaluate("s => [s.selectedIndex, s.options.length]")
        last = place == count - 1
        if self.way == "mouse":
            select.select_option(index=place - 1 if last else place + 1)
        else:
            select.focus()
            self.press("ArrowUp" if last else "ArrowDown")

    def number(self, label, value) -> None:
        self.text(label, value)
        self.press("Tab")

    def text(self, label, value) -> None:
        self._use(self.control(label), "End")
        self.press("ControlOrMeta+a")
        self.tab.keyboard.type(value)

    def saves(self, name) -> None:
        with self.tab.expect_download():
            self.button(name)

    def opens(self, name) -> None:
        with self.tab.expect_file_chooser() as chooser:
            self.button(name)
        chooser.value.set_files(TABLE)
