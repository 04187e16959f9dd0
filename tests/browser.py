"""A real JupyterLab page, driven by Playwright with an installed chromium.

    with lab(folder) as server, page(server, "lesson.ipynb", screenshots) as tab:
        tab.run_all()
        tab.change("slider", 0)          # asserts that a picture or text changed
        tab.sounds()

Papermill and kernel tests cannot see that a control does nothing on the page; this can.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
TOKEN = "course"
CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
MISSING = ", ".join(
    name for name, there in {
        "chromium": CHROMIUM,
        "playwright": importlib.util.find_spec("playwright"),
        "jupyterlab": importlib.util.find_spec("jupyterlab"),
    }.items() if not there
)  # fmt: skip
_KERNEL = "jupyterapp.shell.currentWidget.context.sessionContext"
CONTROLS = {  # what a control is on the page, and the keys that move it
    "slider": (".noUi-handle", ("ArrowRight",)),
    "dropdown": ("select", ()),
    "checkbox": ("input[type=checkbox]", ("Space",)),
    "toggle": (".widget-toggle-buttons button:not(.mod-active)", ("Enter",)),
    "button": (".jupyter-button:not(.widget-toggle-button)", ("Enter",)),
    "text": (".widget-text input", ("End", "1", "Enter")),
}

_SHOWN = """cell => {
    const all = (node, what) => Array.from(node.querySelectorAll(what));
    const areas = all(cell, '.jp-OutputArea-output, .widget-html-content').filter(
        a => !a.querySelector('.jp-OutputArea-output, .jupyter-widgets'));
    return {
        pictures: areas.flatMap(a => all(a, 'img, svg, canvas').map(i => i.src || i.outerHTML)),
        sounds: areas.flatMap(a => all(a, 'audio, source').map(i => i.src)),
        text: areas.map(a => a.innerText),
        errors: areas.filter(a => a.innerText.includes('Traceback (most recent')).length,
    };
}"""  # controls hold their own text outside these areas, so a moved control alone is no change
_UNREACHABLE = """kinds => kinds
    .flatMap(kind => Array.from(document.querySelectorAll('.jp-OutputArea ' + kind)))
    .filter(control => control.offsetParent && !control.disabled)
    .filter(control => {
        const box = control.closest('.jupyter-widgets');
        const label = box?.querySelector('.widget-label, .widget-label-basic')?.innerText;
        const own = control.tagName === 'BUTTON' ? control.innerText || control.title
            : control.labels?.[0]?.innerText || control.ariaLabel;
        return control.tabIndex < 0 || !(label || own || '').trim();
    })
    .map(control => control.outerHTML.slice(0, 200))"""  # not by the Tab key, or without a name


@contextlib.contextmanager
def lab(folder: Path):
    """A JupyterLab server on 127.0.0.1 over `folder` with its own settings; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        environment |= {f"JUPYTER_{name}": f"{home}/{name}" for name in names}
        environment["JUPYTERLAB_SETTINGS_DIR"] = f"{home}/settings"
        environment["JUPYTERLAB_WORKSPACES_DIR"] = f"{home}/workspaces"
        quiet = Path(
            home, "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        )
        quiet.parent.mkdir(parents=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        whole = Path(home, "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings")
        whole.parent.mkdir(parents=True)
        whole.write_text('{"windowingMode": "none"}')  # off-screen cells stay in the page
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
            "--LabApp.expose_app_in_browser=True",
        ]  # fmt: skip
        log = Path(home, "log").open("w+")  # noqa: SIM115
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _await(server, f"{address}/api/status?token={TOKEN}", log)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
            log.close()


def _await(server, address: str, log) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).read()
            return
        time.sleep(0.5)
    log.seek(0)
    raise AssertionError(f"JupyterLab did not start: {log.read()[-2000:]}")


@contextlib.contextmanager
def chromium():
    """The installed browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@contextlib.contextmanager
def page(address: str, notebook: str, screenshots: Path, size=(1200, 1000)):
    """The notebook open in a tab; yields a Tab. Fails on errors in the browser's console."""
    with chromium() as running:
        tab = running.new_page(viewport={"width": size[0], "height": size[1]})
        problems = watched(tab, address, address.replace("http", "ws"))
        tab.set_default_timeout(120_000)
        tab.goto(f"{address}/lab/workspaces/{Path(notebook).stem}/tree/{notebook}?token={TOKEN}")
        try:
            yield Tab(tab, Path(screenshots))
            assert not problems, "errors in the browser's console, or fetched from outside"
        finally:
            with contextlib.suppress(Exception):  # the page may be gone; the server is not ours
                tab.evaluate(f"async () => {{ await {_KERNEL}.shutdown() }}")


def watched(tab, *here) -> list:
    """What goes wrong in a tab from now on: errors, and requests to other places than `here`."""
    problems, allowed = [], ("file:", "data:", "blob:", *here)

    def add(words, bad=True):
        if bad and "favicon" not in str(words):
            problems.append(str(words))

    tab.on("pageerror", add)
    tab.on("console", lambda message: add(message.text, message.type == "error"))
    tab.on("request", lambda request: add(request.url, not request.url.startswith(allowed)))
    return problems


class Tab:
    """One notebook in JupyterLab."""

    def __init__(self, tab, screenshots: Path):
        self.tab, self.screenshots = tab, screenshots

    def run_all(self, timeout_s: float = 180) -> None:
        """Run every cell; assert that each code cell ran and none shows an error."""
        self.tab.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context")
        self.tab.evaluate(
            f"""async () => {{
                await jupyterapp.restored;
                await jupyterapp.shell.currentWidget.revealed;
                await {_KERNEL}.ready;
                await {_KERNEL}.session.kernel.info;
            }}"""
        )  # before that, "run all" runs only the first cell
        self.tab.evaluate(
            "async () => { await jupyterapp.commands.execute('notebook:run-all-cells') }"
        )
        self.idle(timeout_s)
        cells = self.cells()
        silent = [c["id"] for c in cells if c["source"].strip() and not c["count"]]
        assert not silent, f"cells that did not run: {silent}"
        assert not (bad := [c["id"] for c in cells if c["error"]]), f"cells with errors: {bad}"
        lost = self.tab.evaluate(_UNREACHABLE, [kind for kind, _ in CONTROLS.values()])
        assert not lost, f"controls that have no label or that keys cannot reach: {lost}"
        self.shoot("after_run")

    def idle(self, timeout_s: float = 60) -> None:
        """Wait until the kernel has nothing to do and what it sent is on the page."""
        self.tab.wait_for_function(
            f"() => {_KERNEL}.session.kernel.status === 'idle'", timeout=timeout_s * 1000
        )
        self.tab.wait_for_timeout(400)

    def kernel(self, code: str) -> None:
        """Run code in the notebook's kernel; it must not fail."""
        reply = self.tab.evaluate(
            f"async code => (await {_KERNEL}.session.kernel.requestExecute({{code}}).done).content",
            code,
        )
        assert reply["status"] == "ok", reply

    def cells(self) -> list[dict]:
        """id, source, execution count and error state of the code cells."""
        return self.tab.evaluate(
            """() => Array.from(jupyterapp.shell.currentWidget.content.widgets)
                .filter(w => w.model.type === 'code')
                .map(w => ({id: w.model.id, source: w.model.sharedModel.source,
                    count: w.model.executionCount,
                    error: w.model.outputs.toJSON().some(o => o.output_type === 'error')
                        || w.node.innerText.includes('Traceback (most recent')}))"""
        )

    def shoot(self, name: str) -> Path:
        """A screenshot of the window."""
        self.screenshots.mkdir(parents=True, exist_ok=True)
        path = self.screenshots / f"{name}.png"
        self.tab.screenshot(path=path)
        return path

    def controls(self, kind: str):
        """All controls of a kind (slider, dropdown, checkbox, toggle, button, text) in outputs."""
        return self.tab.locator(f".jp-OutputArea {CONTROLS[kind][0]}")

    def works(self, control) -> bool:
        """Whether a control can be used: seen and not disabled, by itself or as a slider."""
        at_rest = "e => e.matches('[disabled], [disabled] *, .jp-mod-disabled *')"
        return control.is_visible() and control.is_enabled() and not control.evaluate(at_rest)

    def change(self, kind: str, number: int = 0, value: str | None = None) -> None:
        """Move control `number` of `kind` by keyboard and assert that its cell shows another
        picture or other text, apart from the control itself. `value`: option of a dropdown, by
        default the one after the chosen one."""
        control = self.controls(kind).nth(number)
        control.scroll_into_view_if_needed()
        before = self._settled(control)
        control.focus()
        if kind == "dropdown":
            labels = control.locator("option").all_inner_texts()
            place = control.evaluate("select => select.selectedIndex") + 1
            control.select_option(label=value or labels[place % len(labels)])
        for key in CONTROLS[kind][1]:
            self.tab.keyboard.press(key)
        self.idle()
        for _ in range(20):  # the kernel may take a moment to answer
            after = self._settled(control)
            if after != before:
                break
        self.shoot(f"{kind}_{number}")
        assert after["errors"] == 0, f"{kind} {number}: an error is shown"
        assert after != before, f"{kind} {number} is dead: nothing on the page changed"
        if after["pictures"] != before["pictures"]:
            assert after["pixels"] != before["pixels"], f"{kind} {number}: new picture not visible"

    def _settled(self, control) -> dict:
        """What the cell shows once two looks agree: outputs are replaced one after the other."""
        from playwright.sync_api import Error

        last = None
        for _ in range(40):
            with contextlib.suppress(Error):  # a picture went while it was looked at
                now = self._shown(control)
                if now == last:
                    break
                last = now
            self.tab.wait_for_timeout(250)
        return last

    def _shown(self, control) -> dict:
        """What the cell of a control shows: pictures, their pixels, players and text."""
        area = control.locator("xpath=ancestor::*[contains(@class, 'jp-Cell')][1]")
        pixels = []
        for picture in area.locator(".jp-OutputArea img").all():
            picture.scroll_into_view_if_needed()
            pixels.append(hashlib.sha256(picture.screenshot()).hexdigest())
        return {"pixels": pixels, **area.evaluate(_SHOWN)}

    def sounds(self) -> list[float]:
        """Durations in s of all players; each must be above 0."""
        durations = self.tab.evaluate(
            """async () => Promise.all(Array.from(document.querySelectorAll('audio')).map(a =>
                new Promise(done => {
                    if (a.readyState > 0) return done(a.duration);
                    a.onloadedmetadata = () => done(a.duration);
                    a.onerror = () => done(-1);
                    setTimeout(() => done(a.duration || -1), 10000);
                    a.load();
                })))"""
        )
        assert all(seconds and seconds > 0 for seconds in durations), f"durations {durations}"
        return durations
