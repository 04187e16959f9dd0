"""A kernel that is watched while it starts and runs a lesson.

Another kernel may take its ports before it does, so that it dies at once; a message to or from it
may be lost, and the client would wait up to the cell's limit beside a kernel that idles.
"""

import asyncio
import contextlib
import logging
import os
from asyncio import FIRST_COMPLETED

import papermill
import zmq
from jupyter_client import AsyncKernelClient
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

START_TIMEOUT_S = 180  # on a busy machine
LOOK_S = 1  # how often it is looked whether a message lies unnoticed
PATIENCE_S = 20  # after so long in one cell the kernel is asked whether it idles
GRACE_S = 5  # the reply of a cell that has just ended may still be on its way


class KernelFaultError(Exception):
    """The kernel, not the notebook, is to blame: another may do better. The message says how."""


class WatchedClient(PapermillNotebookClient):
    """papermill's client, which gives up where it would wait in vain.

    Raises KernelFaultError; whoever runs the notebook may begin again with another kernel.
    """

    async def async_start_new_kernel_client(self):
        try:
            return await super().async_start_new_kernel_client()
        except RuntimeError as error:
            raise KernelFaultError(f"the kernel did not start ({error})") from error

    async def async_execute_cell(self, *args, **options):
        return await self._watched(super().async_execute_cell(*args, **options))

    async def async_wait_for_reply(self, *args, **options):
        return await self._watched(super().async_wait_for_reply(*args, **options))

    start_new_kernel_client = run_sync(async_start_new_kernel_client)
    execute_cell = run_sync(async_execute_cell)
    wait_for_reply = run_sync(async_wait_for_reply)

    async def _watched(self, waiting):
        """The result of the coroutine `waiting`."""
        work, idle = asyncio.ensure_future(waiting), asyncio.ensure_future(self._idle())
        try:
            while not (work.done() or idle.done()):
                self._look()
                await asyncio.wait({work, idle}, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            if idle.done() and not idle.exception():
                await asyncio.wait({work}, timeout=GRACE_S)
                if not work.done():
                    raise KernelFaultError("the kernel lost a message")
            return await work
        finally:
            for task in (work, idle):
                task.cancel()

    def _look(self) -> None:
        """Have messages noticed that are there already.

        What nbclient sends for a widget goes past the socket's asyncio wrapper, and may swallow the
        signal that a reply came in; asking for the socket's events gives it again.
        """
        for channel in (self.kc.shell_channel, self.kc.iopub_channel):
            channel.socket.get(zmq.EVENTS)

    async def _idle(self) -> None:
        """Return once the kernel has done all that it was asked before.

        It answers requests one after the other, so a question of a second connection is answered
        when the cell has ended. A request that lay unread (ipykernel#1554) is read when a
        connection is made, so that the question alone sets some stopped kernels going.
        """
        await asyncio.sleep(PATIENCE_S)
        second = AsyncKernelClient()  # with a session of its own: replies are sent by session
        second.load_connection_info(self.km.get_connection_info())
        second.start_channels(iopub=False, stdin=False, hb=False, control=False)
        with contextlib.closing(second.shell_channel):
            second.kernel_info()
            await second.shell_channel.get_msg()


class WatchedEngine(Engine):
    """The engine of papermill that tells an attempt (see runner.py) how far it came."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, attempt, limit_s, **options):
        attempt.notebook, attempt.index = nb_man.nb, -1
        start = nb_man.cell_start
        attempt.watch.lesson(attempt.path.stem, len(nb_man.nb.cells))

        def cell_start(cell, cell_index=None, **more):
            attempt.index = cell_index
            attempt.watch.cell(cell_index)
            return start(cell, cell_index, **more)

        nb_man.cell_start = cell_start
        WatchedClient(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=START_TIMEOUT_S,
            timeout=limit_s,
            iopub_timeout=limit_s,  # outputs may come late, on a busy machine
            log=logging.getLogger("papermill"),
            extra_arguments=["--IPKernelApp.log_level=50"],  # its remarks are not the lesson's
        ).execute()


def _is_news(record) -> bool:
    """False for the last task of nbclient, which a lost message or Ctrl-C leaves behind."""
    left = ("DeadKernelError", "_async_poll_kernel_alive")
    return not any(name in record.getMessage() for name in left)


def execute(path, parameters: dict, limit_s: float, attempt) -> None:
    """Run the notebook at `path` in its own folder; `attempt` holds it and knows how far it is."""
    for name in ("papermill", "papermill.translators"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the attempt tells errors in one line
    logging.getLogger("asyncio").addFilter(_is_news)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a line of noise per kernel
    os.environ.setdefault("BSRNN_PREDICTIONS", os.devnull)  # nobody's answers are stored
    papermill_engines.register("bsrnn", WatchedEngine)
    papermill.execute_notebook(
        str(path),
        None,
        parameters=parameters,
        engine_name="bsrnn",
        kernel_name="python3",
        language="python",
        cwd=str(path.parent),
        progress_bar=False,
        attempt=attempt,
        limit_s=limit_s,
    )
