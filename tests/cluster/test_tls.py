"""A cluster whose connections are encrypted, as Dask's configuration says."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.records.record import SiteRecord
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options


def certificate(folder: Path) -> dict[str, str]:
    """A key and a certificate that signs itself, for loopback; by the name of Dask's setting."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"ca-file": str(folder / "cert.pem"), "cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


def test_a_run_over_tls(tiny: Path, text: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tls://127.0.0.1:{free.getsockname()[1]}"
    options = Options(
        model=str(tiny), text=text, recipes=("Q8_0",), no_imatrix=True, window=64, windows=1, generate=2, threads=1, cache=cache, cluster=address,
        out=tmp_path / "out",
    )  # fmt: skip
    scheduler = [
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard", "--tls-ca-file", files["ca-file"],
        "--tls-cert", files["cert"], "--tls-key", files["key"],
    ]  # fmt: skip
    worker = [
        sys.executable,
        "-m",
        "bench",
        "worker",
        address,
        "--name",
        "a",
        "--cache",
        str(cache),
        "--host",
        "127.0.0.1",
    ]
    for name, value in (("CA_FILE", files["ca-file"]), ("WORKER__CERT", files["cert"]), ("WORKER__KEY", files["key"])):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", value)
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for command in (scheduler, worker)
    ]
    try:
        with pytest.raises(
            BenchError, match=rf"--cluster {address}: no Dask scheduler answers .* look at address, certificates"
        ):
            Sweep(options, Reporter()).execute()  # this process has no certificate
        tls = "distributed.comm.tls"
        with dask.config.set(
            {f"{tls}.ca-file": files["ca-file"], f"{tls}.client.cert": files["cert"], f"{tls}.client.key": files["key"]}
        ):
            run = Sweep(replace(options), Reporter()).execute()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)
    assert [r.site for r in run.of(SiteRecord)] == ["a"]
