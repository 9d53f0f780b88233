"""Sessions: `nox -s bench` is the main job, `nox -s tests` and `nox -s lint` check the project.

The engine, llama-cpp-python, comes as source and takes minutes to compile. It is compiled once, into a wheel that all
sessions and checkouts of this user share. On x86-64 it is built with AVX2 and without AVX-512, whatever the building
machine offers, so that figures are comparable. BENCH_ENGINE names another build: `native` for what this machine's CPU has,
or `cuda`, `vulkan`, `metal` or `hip` for one that also computes on a GPU, with the same code for the CPU as the default one.
Builds are kept side by side.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.default_venv_backend = "virtualenv"  # brings pip, which fetches the default model
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2024.4.15"

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints.txt"

#: Only the library itself: no tools, no multimodal part. It saves a third of the time to compile.
_PARTS = ["-DLLAVA_BUILD=OFF", "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"]
_AVX2 = [
    "-DGGML_NATIVE=OFF",
    "-DGGML_SSE42=ON",
    "-DGGML_AVX=ON",
    "-DGGML_AVX2=ON",
    "-DGGML_FMA=ON",
    "-DGGML_F16C=ON",
    "-DGGML_BMI2=ON",
    "-DGGML_AVX512=OFF",
    "-DGGML_AVX_VNNI=OFF",
]


#: What turns on a backend for GPUs, by the name of the engine that has it.
_GPU = {
    "cuda": "-DGGML_CUDA=ON",
    "vulkan": "-DGGML_VULKAN=ON",
    "metal": "-DGGML_METAL=ON",
    "hip": "-DGGML_HIP=ON",
}


def engine() -> str:
    """Which build of the engine is asked for: `avx2`, `native`, or that of a GPU's backend."""
    chosen = os.environ.get("BENCH_ENGINE", "avx2" if _is_x86() else "native").lower()
    if chosen not in ("avx2", "native", *_GPU):
        raise SystemExit(f"error: BENCH_ENGINE={chosen}: must be avx2, native, {', '.join(_GPU)}")
    return chosen


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def isa() -> str:
    """The instruction set that the engine is built for: `avx2`, also beside a GPU's backend, or `native`."""
    return "native" if engine() == "native" or not _is_x86() else "avx2"


def engine_requirement() -> str:
    dependencies: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return next(d for d in dependencies if d.startswith("llama-cpp-python=="))


def engine_directory() -> Path:
    """Where the engine's wheel is kept. The name is a hash of everything that the engine's behaviour depends on."""
    cpu = Path("/proc/cpuinfo")
    native = isa() == "native" and cpu.exists()
    features = sorted(
        {line for line in cpu.read_text().splitlines() if line.startswith(("flags", "Features", "model name"))}
        if native
        else ()
    )
    parts = [
        engine_requirement(),
        platform.machine(),
        platform.system(),
        platform.libc_ver()[1],
        *engine_flags(),
        *features,
    ]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamicgate-bench" / "engine"
    return cache / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def engine_flags() -> list[str]:
    # On a Mac, too, figures are the CPU's unless its GPU is asked for.
    metal = [] if engine() == "metal" else ["-DGGML_METAL=OFF"]
    mac = [*metal, "-DGGML_BLAS=OFF"] if platform.system() == "Darwin" else []
    return [*(_AVX2 if isa() == "avx2" else ["-DGGML_NATIVE=ON"]), *mac, *gpu_flags(), *_PARTS]


def gpu_flags() -> list[str]:
    return [_GPU[engine()]] if engine() in _GPU else []


def engine_wheel(session: nox.Session) -> Path:
    """The engine's wheel; it is built if it is not there."""
    directory = engine_directory()
    if not (found := list(directory.glob("*.whl"))):
        session.log(f"Compiling the engine, {engine()}: some minutes, once. It is kept in {directory}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".build-") as scratch:
            # --no-cache-dir and --no-binary: pip must not slip in a wheel that was built with other flags; nor may the
            # user's own compiler flags, such as -march=native, get into this one
            session.run_install(  # so that `nox --install-only` has what it installs
                "python",
                "-m",
                "pip",
                "wheel",
                engine_requirement(),
                "--no-deps",
                "--no-cache-dir",
                "--no-binary",
                "llama-cpp-python",
                "--wheel-dir",
                scratch,
                "--quiet",
                env={
                    "CMAKE_ARGS": " ".join(engine_flags()),
                    "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
                    "CFLAGS": "",
                    "CXXFLAGS": "",
                },
            )
            directory.mkdir(exist_ok=True)
            for wheel in Path(scratch).glob("*.whl"):
                shutil.move(wheel, directory / wheel.name)
        found = list(directory.glob("*.whl"))
    return found[0]


def prepare(session: nox.Session, *extras: str) -> None:
    """Install the project and its engine, unless this environment already has exactly that."""
    parts = [
        (ROOT / "pyproject.toml").read_bytes(),
        CONSTRAINTS.read_bytes(),
        str(engine_directory()).encode(),
        *(e.encode() for e in extras),
    ]
    wanted = hashlib.sha256(b"\n".join(parts)).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    # By its path, so that the right one is taken even where another build of this version is installed.
    session.install("--quiet", "--force-reinstall", "--no-deps", str(engine_wheel(session)))
    session.install(
        "--quiet", "--constraint", str(CONSTRAINTS), "--editable", f".[{','.join(extras)}]" if extras else "."
    )
    stamp.write_text(wanted)


#: Options that are the program's own, and no run's.
_HELP = ("--help", "-h", "--version", "--install-completion", "--show-completion")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the sweep. Arguments after -- go to `dynamicgate-bench run`; a command's name there runs that command."""
    given = session.posargs
    extras = {
        "cluster": "worker" in given or any(a.startswith("--cluster") for a in given),
        "code": any(a.startswith("--kinds") for a in given),
        "tasks": "tasks" in given or any(a.startswith("--tasks") for a in given),
    }
    prepare(session, *(name for name, needed in extras.items() if needed))
    command = next((a for a in given if a not in ("--debug", "--quiet", "-q")), "")
    # options without a command are a run's
    arguments = ["run", *given] if (command.startswith("-") and command not in _HELP) or not command else given
    required = (
        ["--isa", "AVX2"]
        if isa() == "avx2"
        and (arguments[0] == "run" or command == "run")
        and not any(a.startswith("--isa") for a in arguments)
        else []
    )
    session.run("python", "-m", "bench", *arguments, *required, env={"BENCH_PROGRAM": "nox -s bench --"})


#: Files of tests go to a process for each core; what a file has made for its tests is made once.
SPREAD = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, in several processes. Arguments after -- go to pytest; -n 0 runs them in one."""
    prepare(session, "tests")
    session.run("python", "-m", "pytest", *SPREAD, *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the tests of GPUs with an engine that has one, Vulkan unless BENCH_ENGINE names another. Arguments after -- go to pytest.

    Vulkan needs no GPU: Mesa's driver computes on the CPU. On Debian the packages mesa-vulkan-drivers, libvulkan-dev, glslc and
    spirv-headers are all it takes. Building the shaders takes long.
    """
    asked = os.environ.get("BENCH_ENGINE")
    os.environ["BENCH_ENGINE"] = asked or "vulkan"
    try:
        prepare(session, "tests")
        # devices that are no GPU are passed over unless they are named
        named = {"GGML_VK_VISIBLE_DEVICES": os.environ.get("GGML_VK_VISIBLE_DEVICES", "0")}
        session.run("python", "-m", "pytest", "-m", "gpu", *session.posargs, env=named if engine() == "vulkan" else {})
    finally:  # sessions that follow have their own engine
        if asked is None:
            del os.environ["BENCH_ENGINE"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check with ruff and mypy, and check the order of the folders (import-linter)."""
    prepare(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", silent=True)  # it says a lot where all is well


@nox.session
def notebook(session: nox.Session) -> None:
    """Run notebooks/explore.ipynb on the published results, or on the run whose directory follows --.

    The notebook with its outputs is written to results/local/explore.ipynb.
    """
    prepare(session, "notebook")
    chosen = {"BENCH_RUN": str(Path(session.posargs[0]).resolve())} if session.posargs else {}
    (ROOT / "results" / "local").mkdir(parents=True, exist_ok=True)
    # jupyter takes the output's path as relative to the notebook's directory
    session.run("jupyter", "execute", "--output=../results/local/explore", "notebooks/explore.ipynb", env=chosen)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages (docs/commands.md, docs/columns.md), and build all pages as a site in site/.

    A dead link to a page, a heading, a plot or a file is an error; so is a page that the navigation lacks.
    """
    prepare(session, "docs")
    session.run("python", "-m", "bench.cli.docs")
    site = ROOT / "site"
    shutil.rmtree(site, ignore_errors=True)  # pages that are no more
    options = ["--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    session.run("sphinx-build", *options, "--conf-dir", "docs", "--doctree-dir", session.create_tmp(), ".", str(site))
    session.log(f"The site: {site / 'index.html'}")


@nox.session
def publish(session: nox.Session) -> None:
    """Make tables, plots and the figures that README and docs/ quote again, from the records in results/."""
    prepare(session)
    session.run("python", "-m", "bench.present.publish")


@nox.session
def screenshot(session: nox.Session) -> None:
    """Take a picture of the published page for README.md, results/report.png. It needs a Chromium on PATH."""
    prepare(session, "browser")
    run = session.posargs[0] if session.posargs else "results/smollm2-135m-instruct"
    session.run("python", "-m", "bench.present.pages.screenshot", run, "results/report.png")


def tools_directory(session: nox.Session) -> Path:
    """llama.cpp's own tools, built from the source distribution of the engine in use with the engine's flags."""
    directory = engine_directory().with_name(f"{engine_directory().name}-tools")
    binaries = directory / "bin"
    targets = ["llama-perplexity", "llama-imatrix", "llama-quantize", "llama-bench"]
    if all((binaries / t).exists() for t in targets):
        return binaries
    session.log(f"Building llama.cpp's tools, {engine()}: some minutes, once. They are kept in {directory}")
    session.install("--quiet", "cmake", "ninja", "scikit-build-core[pyproject]")
    shutil.rmtree(directory, ignore_errors=True)  # of a build that was interrupted
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".build-") as scratch:
        # without build isolation: pip reads the name and version with what was just installed
        fetch = ["pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        session.run("python", "-m", *fetch, engine_requirement(), "--dest", scratch)
        [archive] = Path(scratch).glob("*.tar.gz")
        shutil.unpack_archive(archive, scratch, filter="data")
        [source] = Path(scratch).glob("llama_cpp_python-*/vendor/llama.cpp")
        flags = [
            *(f for f in engine_flags() if f not in gpu_flags()),  # what is compared is computed on the CPU
            "-DLLAMA_BUILD_TOOLS=ON",
            "-DLLAMA_BUILD_SERVER=OFF",
            "-DLLAMA_CURL=OFF",
            "-DLLAMA_OPENSSL=OFF",
            "-DCMAKE_BUILD_TYPE=Release",
        ]
        session.run("cmake", "-S", str(source), "-B", str(directory), "-G", "Ninja", *flags, silent=True)
        session.run("cmake", "--build", str(directory), "--target", *targets, silent=True)
    return binaries


@nox.session
def peers(session: nox.Session) -> None:
    """Do the same work with llama.cpp's tools and with this program, side by side. Arguments after -- go to bench.peers."""
    prepare(session)
    session.run("python", "-m", "bench.peers", str(tools_directory(session)), *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Attack the program with hostile files, kills and faults, and count. Arguments after -- go to tests.stress; --help lists them."""
    prepare(session, "tests")
    session.run("python", "-m", "tests.stress", *session.posargs)
