"""Flags, variables and defaults of `wstar-serve`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import wstar
from wstar_service.arguments import read_settings
from wstar_service.settings import Address, Settings


def test_defaults() -> None:
    settings = read_settings(["--repository", "here"], {})
    assert settings == Settings(Path("here"))
    assert settings.listen == Address("127.0.0.1", 50051)


@pytest.mark.parametrize(("used", "unused"), [("repository", "triton"), ("triton", "repository")])
def test_every_setting_is_a_flag_and_a_variable(used: str, unused: str) -> None:
    every = Settings(
        repository=Path("here"),
        triton=Address("there", 8001),
        triton_shared_memory=False,
        listen=Address("[::1]", 0),
        metrics=Address("0.0.0.0", 9464),
        workers=2,
        reuse_port=True,
        threads=3,
        batch_delay_ms=2.5,
        max_image_bytes=4,
        max_image_pixels=5,
        max_message_bytes=6,
        max_batch=7,
        max_distances=8,
        max_concurrency=9,
        max_queue=0,
        max_concurrency_per_token=10,
        max_stream_in_flight=11,
        tls_certificate=Path("certificate"),
        tls_key=Path("key"),
        tls_client_ca=Path("ca"),
        tokens=Path("tokens"),
        reflection=False,
        log_format="text",
        otlp=Address("collector", 4317),
        drain_s=0.25,
        grace_s=0.5,
        max_connection_age_s=60.0,
    )
    fields = [field for field in dataclasses.fields(Settings) if field.name != unused]
    assert all(getattr(every, field.name) != field.default for field in fields)
    expected = dataclasses.replace(every, **{unused: None})  # type: ignore[arg-type]
    texts = {field.name: str(getattr(expected, field.name)) for field in fields}
    variables = {f"WSTAR_{name.upper()}": text for name, text in texts.items()}
    assert read_settings([], variables) == expected
    flags = [
        {"False": f"--no-{flag}", "True": f"--{flag}"}.get(text, f"--{flag}={text}")
        for flag, text in ((name.replace("_", "-"), text) for name, text in texts.items())
    ]
    assert read_settings(flags, {}) == expected


def test_flags_win_over_variables() -> None:
    settings = read_settings(
        ["--repository=here", "--max-batch=2", "--reflection"],
        {"WSTAR_MAX_BATCH": "3", "WSTAR_THREADS": "4", "WSTAR_REFLECTION": "no"},
    )
    assert (settings.max_batch, settings.threads, settings.reflection) == (2, 4, True)


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        ([], {}, "either in --repository DIR (WSTAR_REPOSITORY) or on --triton HOST:PORT"),
        (["--triton=a:1"], {"WSTAR_REPOSITORY": "x"}, "found 'both: x and a:1'"),
        (["--triton=8001"], {}, "--triton: found '8001'"),
        (["--repository=x", "--max-batch=0"], {}, "--max-batch: found '0'"),
        (["--repository=x", "--listen=50051"], {}, "--listen: found '50051'"),
        (["--repository=x", "--listen=a:65536"], {}, "port 0 to 65535"),
        (["--repository=x", "--grace-s=nan"], {}, "0 to 3600 seconds"),
        (["--repository=x", "--workers=257"], {}, "--workers: found '257'"),
        (["--repository=x", "--max-queue=-1"], {}, "0 to 65536 calls"),
        (["--repository=x", "--log-format=xml"], {}, "allowed: json or text"),
        (["--repository=x", "--tls-key=k"], {}, "a file, where tls_key is one (--tls-certificate)"),
        (["--repository=x", "--tls-certificate=c"], {}, "(--tls-key)"),
        (["--repository=x", "--tls-client-ca=c"], {}, "only with TLS (--tls-client-ca)"),
        (["--repository=x", "--max-concurrency-per-token=1"], {}, "only with tokens"),
        (["--repository=x"], {"WSTAR_THREADS": "two"}, "WSTAR_THREADS: found 'two'"),
        (["--repository=x"], {"WSTAR_REFLECTION": "perhaps"}, "WSTAR_REFLECTION: found 'perhaps'"),
    ],
)
def test_wrong_values_are_named(
    argv: list[str], environ: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(argv, environ)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"wstar-serve {wstar.__version__}"


def test_help_names_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"], {})
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--max-image-bytes BYTES", "--grace-s SECONDS", "--listen HOST:PORT"):
        assert flag in text
    assert "(default: 127.0.0.1:50051)" in text
