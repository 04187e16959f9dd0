"""A kernel that is watched while it starts and runs a lesson.

Another kernel may take its ports before it does, so that it dies at once; a message to or from it
may be lost, and the client would wait up to the cell's limit beside a kernel that idles.
"""

import asyncio
import contextlib
from asyncio import FIRST_COMPLETED

import zmq
from jupyter_client import AsyncKernelClient
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient

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
