#!/bin/sh
# Resolves pyproject.toml into requirements/*.txt with every hash; `make lock` calls it.
# cpu.txt needs PyTorch's CPU wheel in a folder or page that pip is set up to look in (find-links).
set -eu

if [ ! -x .lock-venv/bin/uv ]; then
    "${PYTHON:-python3}" -m venv .lock-venv
    .lock-venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements/uv.txt
fi

# One version a package for every Python and platform, so that what is tested is what is installed.
compile() {
    output=$1
    shift
    .lock-venv/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
        -o "requirements/$output" "$@"
    echo "requirements/$output: $(grep -c '^[a-zA-Z].*==' "requirements/$output") packages"
}

extras="--extra opensmile --extra embedded --extra signals --extra pretrained --extra wandb --extra mlflow --extra tensorboard --extra dev"
wheels=${PIP_FIND_LINKS:-$(.lock-venv/bin/pip config get global.find-links 2>/dev/null || true)}

# uv prefers a local version (+cpu) where it sees one, so the CUDA lock must not see the CPU wheel.
UV_CUSTOM_COMPILE_COMMAND="make lock"
export UV_CUSTOM_COMPILE_COMMAND
unset UV_FIND_LINKS
compile cuda.txt pyproject.toml requirements/cuda.in $extras "$@"
compile build.txt requirements/build.in -c requirements/cuda.txt "$@"
compile uv.txt requirements/uv.in
UV_FIND_LINKS=$wheels
export UV_FIND_LINKS
compile cpu.txt pyproject.toml requirements/cpu.in $extras "$@"
