"""An SSH server on loopback, without root and without the machine's own: what a client runs is run as this user."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh


async def _serve(process: Any) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        await asyncio.wait(
            [asyncio.ensure_future(child.wait()), asyncio.ensure_future(process.channel.wait_closed())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        process.exit(child.returncode or 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)


@contextmanager
def ssh_server(home: Path, hosts: tuple[str, ...]) -> Iterator[None]:
    """A server, and a configuration in `home` by which these names lead to it."""
    folder = home / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    of_server, of_user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    of_user.write_private_key(str(folder / "id_ed25519"))
    (folder / "id_ed25519").chmod(0o600)
    of_user.write_public_key(str(folder / "id_ed25519.pub"))
    started, loop, port = threading.Event(), asyncio.new_event_loop(), [0]

    async def listen() -> None:
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[of_server],
            authorized_client_keys=str(folder / "id_ed25519.pub"),
            process_factory=_serve,
            encoding=None,
        )
        port[0] = server.get_port()
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(listen())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    assert started.wait(20)
    key = of_server.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port[0]} {key}\n")
    lines = (f"Host {host}\n  HostName 127.0.0.1\n  Port {port[0]}\n  User somebody\n" for host in hosts)
    (folder / "config").write_text("".join(lines))
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
