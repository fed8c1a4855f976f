"""Options of `vigil train`, one for each field of JobSpec, and of all that reads tables."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from train.spec import JobSpec
from train.table.schema import Columns
from vigil.json_types import Fields, JsonObject, without_none

Command = Callable[..., None]
_SCALARS = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
}


def spec_options(command: Command) -> Command:
    """Give a command the options of a job, in the order of the fields."""
    return _with_options(command, tuple(JobSpec.model_fields))


def column_options(command: Command) -> Command:
    """Give a command that reads a table the options that say the roles of its columns."""
    return _with_options(command, JobSpec.role_fields())


def table_options(command: Command) -> Command:
    """Give a command that learns from a table all that says how: see `JobSpec.table_fields`."""
    return _with_options(command, JobSpec.table_fields())


def parse_columns(values: Fields) -> Columns:
    """Return the roles of columns that the options say; others are left alone."""
    roles = {name: values[name] for name in JobSpec.role_fields()}
    return parse_spec({"data": "", **roles}).columns


def parse_spec(values: Fields) -> JobSpec:
    """Return the job that the options say; raises click.BadParameter that names the wrong one."""
    given = without_none(values)
    try:
        return JobSpec(**given)
    except ValidationError as error:
        mistake = error.errors()[0]
        message = str(mistake["msg"]).removeprefix("Value error, ")
        raise bad_option(str(mistake["loc"][0]), message) from error


def bad_option(name: str, message: str) -> click.BadParameter:
    """Return the usage error of the option of a field of JobSpec."""
    context = click.get_current_context()
    return click.BadParameter(
        message,
        ctx=context,
        param=_parameter(context, name),
    )


def _with_options(command: Command, names: tuple[str, ...]) -> Command:
    """The command with the options of these fields, in their order."""
    for name in reversed(names):
        command = _click_option(name, JobSpec.model_fields[name])(command)
    return command


def _parameter(context: click.Context, name: str) -> click.Parameter | None:
    parameters = context.command.params
    return next((parameter for parameter in parameters if parameter.name == name), None)


def _click_option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    about = JobSpec.about(name)
    settings: JsonObject = {
        "type": _click_type(field, about),
        "required": field.is_required(),
        "default": None,  # that of the field is the field's own
        "help": field.description or None,
        "metavar": about.get("metavar"),
    }
    if field.annotation is bool:
        settings["is_flag"] = True
    if "value_alone" in about:
        settings |= {
            "is_flag": False,
            "flag_value": about["value_alone"],
        }
    return click.option(f"--{JobSpec.option(name)}", name, **settings)


def _click_type(field: FieldInfo, about: Fields) -> click.ParamType:
    annotation = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if "above" in about:
        return click.FloatRange(min=about["above"], min_open=True)
    return _SCALARS.get(annotation, click.STRING)


def _without_none(annotation: Any) -> Any:
    """The type of a field that may be absent."""
    if not isinstance(annotation, UnionType):
        return annotation
    return next(kind for kind in get_args(annotation) if kind is not type(None))
