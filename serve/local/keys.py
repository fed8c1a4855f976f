"""`vigil keys`: make, list and revoke API keys."""

from __future__ import annotations

from pathlib import Path

import click

from serve.http.api_keys import KeyRing
from serve.settings import ServeSettings
from train.registry.signature import create_signing_key
from vigil.home import explain_write_errors
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_answer, report_errors


@click.group()
def keys() -> None:
    """API keys of the service, of which only hashes are stored and changes take effect at once;
    and the key that signs models."""


def _ring() -> KeyRing:
    home = HomeSettings().open()
    settings = ServeSettings()
    return KeyRing(settings.model_copy(update={"home": home.root}).key_file)


@keys.command()
@click.argument("name")
@click.option(
    "--operator",
    is_flag=True,
    help="the key may also promote, roll back and switch the governor's mode",
)
@json_option
@report_errors
def new(
    name: str,
    operator: bool,
    as_json: bool,
) -> None:
    """Make a key called NAME and print it, this one time."""
    ring = _ring()
    with explain_write_errors(ring.file.parent):
        key = ring.new(name, operator=operator)
    document = {"name": name, "key": key, "operator": operator}
    print_answer(document, key, as_json=as_json)


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@report_errors
def signing(file: Path, as_json: bool) -> None:
    """Make a key that signs models at FILE, and its public part beside it as .pub.

    Sign with VIGIL_TRAIN_SIGNING_KEY=FILE; put the .pub into the folder VIGIL_TRUSTED_KEYS of
    whoever serves.
    """
    key_id = create_signing_key(file)
    public = file.with_suffix(".pub")
    document = {"id": key_id, "private": str(file), "public": str(public)}
    sentence = f"key {key_id}: {file} signs, {public} is for those who verify"
    print_answer(document, sentence, as_json=as_json)


@keys.command("list")
@json_option
@report_errors
def list_keys(as_json: bool) -> None:
    """Names of the keys."""
    by_name = dict(sorted(_ring().read().items()))
    operators = [name for name, key in by_name.items() if key.operator]
    lines = [f"{name} (operator)" if name in operators else name for name in by_name]
    print_answer(
        {"keys": list(by_name), "operators": operators},
        "\n".join(lines) or "there are no keys",
        as_json=as_json,
    )


@keys.command()
@click.argument("name")
@json_option
@report_errors
def revoke(name: str, as_json: bool) -> None:
    """Take the key called NAME out."""
    ring = _ring()
    with explain_write_errors(ring.file.parent):
        ring.revoke(name)
    print_answer({"revoked": name}, f"revoked {name}", as_json=as_json)
