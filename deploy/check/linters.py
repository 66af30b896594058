"""hadolint over Dockerfiles, shellcheck over shell scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.check.outcome import DEPLOY, ROOT, Outcome, counted, lines, run, tool

_HOW = "deploy/check/requirements.txt"
_FOLDERS = (".ci", "deploy", "export", "service", "tests", "training")
_SHELLS = (b"#!/usr/bin/env bash", b"#!/bin/bash", b"#!/bin/sh", b"#!/usr/bin/env sh")


def dockerfiles() -> list[Path]:
    """All of them."""
    return sorted(DEPLOY.glob("Dockerfile*"))


def scripts() -> list[Path]:
    """Files that a shell runs, whatever they are called."""
    return sorted(path for folder in _FOLDERS for path in _in(ROOT / folder))


def check_dockerfiles() -> Outcome:
    """Run hadolint."""
    hadolint = tool("hadolint", _HOW)
    found = dockerfiles()
    faults = lines(run(hadolint, *found)) if found else ["there is no Dockerfile"]
    return Outcome(counted(found, "Dockerfile"), faults)


def check_scripts() -> Outcome:
    """Run shellcheck."""
    shellcheck = tool("shellcheck", _HOW)
    found = scripts()
    faults = (
        lines(run(shellcheck, "--format=gcc", *found)) if found else ["there is no shell script"]
    )
    return Outcome(counted(found, "script"), faults)


def _in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in ("", ".sh"):
            with path.open("rb") as file:
                if file.readline().startswith(_SHELLS):
                    yield path
